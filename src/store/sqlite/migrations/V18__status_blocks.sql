-- Blocks of places in status lists; at most as many as there are.
CREATE TABLE status_blocks (
  block INTEGER PRIMARY KEY CHECK (block >= 0),
  over  INTEGER NOT NULL                          -- when its lease is over
) STRICT;
CREATE INDEX status_blocks_over ON status_blocks (over);
