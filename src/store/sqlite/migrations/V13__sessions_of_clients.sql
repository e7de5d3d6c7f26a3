-- What clients are told about people beside what scopes say (OpenID Connect Core §5.5), and in which session it was approved.
ALTER TABLE codes ADD COLUMN claims TEXT NOT NULL DEFAULT '';
ALTER TABLE codes ADD COLUMN session_id BLOB;
ALTER TABLE grants ADD COLUMN claims TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN session_id BLOB;
-- The name of a session; one from before has none, and is called by the beginning of its digest.
ALTER TABLE sessions ADD COLUMN id BLOB;

-- At which clients a session has signed its person in, and what the person approved there.
CREATE TABLE session_clients (
  session_id            BLOB    NOT NULL,
  client_id             TEXT    NOT NULL,
  subject               TEXT    NOT NULL,
  scope                 TEXT    NOT NULL,
  resource              TEXT    NOT NULL,
  authorization_details TEXT    NOT NULL,
  claims                TEXT    NOT NULL,
  expires_at            INTEGER NOT NULL,
  PRIMARY KEY (session_id, client_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX session_clients_subject ON session_clients (subject);
CREATE INDEX session_clients_expiry ON session_clients (expires_at);

INSERT INTO held VALUES ('session_clients', 0);
CREATE TRIGGER session_clients_added AFTER INSERT ON session_clients
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'session_clients'; END;
CREATE TRIGGER session_clients_removed AFTER DELETE ON session_clients
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'session_clients'; END;
