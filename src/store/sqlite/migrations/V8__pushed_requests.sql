-- Pushed authorization requests (RFC 9126).
CREATE TABLE pushed_requests (
  digest         BLOB    PRIMARY KEY,          -- of the request_uri
  transaction_id BLOB    NOT NULL UNIQUE,      -- that every load of the page continues
  client_id      TEXT    NOT NULL,
  parameters     TEXT    NOT NULL,             -- a form, without credentials
  expires_at     INTEGER NOT NULL,
  spent          INTEGER NOT NULL              -- 1: it was answered
) STRICT, WITHOUT ROWID;
CREATE INDEX pushed_requests_expiry ON pushed_requests (expires_at);
CREATE INDEX pushed_requests_client ON pushed_requests (client_id, expires_at) WHERE spent = 0;

INSERT INTO held VALUES ('pushed_requests', 0);
CREATE TRIGGER pushed_requests_added AFTER INSERT ON pushed_requests
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'pushed_requests'; END;
CREATE TRIGGER pushed_requests_removed AFTER DELETE ON pushed_requests
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'pushed_requests'; END;
