-- Clients that have registered themselves (RFC 7591).
CREATE TABLE clients (
  client_id          text   PRIMARY KEY,
  metadata           text   NOT NULL,              -- what it has registered, in JSON
  secret             bytea,                        -- SHA-256 of its client_secret, if it has one
  registration_token bytea  NOT NULL,              -- SHA-256 of its registration access token (RFC 7592)
  registered_at      bigint NOT NULL,
  disposable_from    bigint                        -- from then on it goes if it has no grant
);
CREATE INDEX clients_disposable ON clients (disposable_from) WHERE disposable_from IS NOT NULL;
INSERT INTO held SELECT 'clients', slot, 0 FROM generate_series(0, 31) AS slot;
CREATE TRIGGER added AFTER INSERT ON clients
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON clients
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();

-- The grants of a client, to end them with it.
CREATE INDEX grants_client ON grants (client_id);
