-- People whom somebody else vouches for, as they were last seen.
CREATE TABLE people (
  subject      TEXT    PRIMARY KEY,
  name         TEXT    NOT NULL,
  email        TEXT,
  claims       TEXT    NOT NULL,               -- a JSON object
  disabled     INTEGER NOT NULL,
  last_seen    INTEGER NOT NULL,
  needed_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX people_unneeded ON people (needed_until) WHERE disabled = 0;

INSERT INTO held VALUES ('people', 0);
CREATE TRIGGER people_added AFTER INSERT ON people
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'people'; END;
CREATE TRIGGER people_removed AFTER DELETE ON people
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'people'; END;

-- How well the person was recognised (OpenID Connect Core §2 `acr`).
ALTER TABLE codes ADD COLUMN acr TEXT;
ALTER TABLE devices ADD COLUMN acr TEXT;
ALTER TABLE grants ADD COLUMN acr TEXT;
ALTER TABLE sessions ADD COLUMN acr TEXT;

-- Sessions end when nobody uses them.
ALTER TABLE sessions ADD COLUMN idle_expires_at INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET idle_expires_at = expires_at;
CREATE INDEX sessions_idle_expiry ON sessions (idle_expires_at);
