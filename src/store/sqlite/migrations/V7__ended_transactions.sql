-- Authorization transactions that ended without a code, until their time is over.
CREATE TABLE ended_transactions (
  id         BLOB    PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_transactions_expiry ON ended_transactions (expires_at);

INSERT INTO held VALUES ('ended_transactions', 0);
CREATE TRIGGER ended_transactions_added AFTER INSERT ON ended_transactions
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'ended_transactions'; END;
CREATE TRIGGER ended_transactions_removed AFTER DELETE ON ended_transactions
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'ended_transactions'; END;
