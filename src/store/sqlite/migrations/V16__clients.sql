-- Clients that have registered themselves (RFC 7591).
CREATE TABLE clients (
  client_id          TEXT    PRIMARY KEY,
  metadata           TEXT    NOT NULL,         -- what it has registered, in JSON
  secret             BLOB,                     -- SHA-256 of its client_secret, if it has one
  registration_token BLOB    NOT NULL,         -- SHA-256 of its registration access token (RFC 7592)
  registered_at      INTEGER NOT NULL,
  disposable_from    INTEGER                   -- from then on it goes if it has no grant
) STRICT, WITHOUT ROWID;
CREATE INDEX clients_disposable ON clients (disposable_from) WHERE disposable_from IS NOT NULL;

INSERT INTO held VALUES ('clients', 0);
CREATE TRIGGER clients_added AFTER INSERT ON clients
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'clients'; END;
CREATE TRIGGER clients_removed AFTER DELETE ON clients
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'clients'; END;

-- The grants of a client, to end them with it.
CREATE INDEX grants_client ON grants (client_id);
