-- Blocks of places in status lists; at most as many as there are.
CREATE TABLE status_blocks (
  block bigint PRIMARY KEY CHECK (block >= 0),
  over  bigint NOT NULL                           -- when its lease is over
);
CREATE SEQUENCE status_blocks_begun AS bigint MINVALUE 0;
CREATE INDEX status_blocks_over ON status_blocks (over);
