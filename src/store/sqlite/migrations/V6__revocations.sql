-- Access tokens that were revoked by name (RFC 7009): those that no grant ends with.
CREATE TABLE revocations (
  token      BLOB    PRIMARY KEY,           -- SHA-256 of the jti
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_expiry ON revocations (expires_at);

INSERT INTO held VALUES ('revocations', 0);
CREATE TRIGGER revocations_added AFTER INSERT ON revocations
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'revocations'; END;
CREATE TRIGGER revocations_removed AFTER DELETE ON revocations
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'revocations'; END;
