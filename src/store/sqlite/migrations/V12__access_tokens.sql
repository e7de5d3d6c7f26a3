-- Access tokens that are handles (RFC 6749 §1.4), each with what a JWT in its place would say. With a rowid, so that new rows
-- stand together on the last pages; only the index of digests, which are random, has to be written all over the place.
CREATE TABLE access_tokens (
  digest     BLOB    NOT NULL UNIQUE,       -- SHA-256 of the handle
  claims     TEXT    NOT NULL,              -- a JSON object (RFC 9068 §2.2)
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);

INSERT INTO held VALUES ('access_tokens', 0);
CREATE TRIGGER access_tokens_added AFTER INSERT ON access_tokens
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'access_tokens'; END;
CREATE TRIGGER access_tokens_removed AFTER DELETE ON access_tokens
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'access_tokens'; END;
