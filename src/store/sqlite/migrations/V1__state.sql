-- Times are milliseconds since 1970-01-01T00:00:00Z. What opens a door is a SHA-256 or sealed.

CREATE TABLE codes (
  digest         BLOB    PRIMARY KEY,
  transaction_id BLOB    NOT NULL UNIQUE,      -- a transaction gives one code
  client_id      TEXT    NOT NULL,
  redirect_uri   TEXT    NOT NULL,
  challenge      BLOB    NOT NULL,
  subject        TEXT    NOT NULL,
  auth_time      INTEGER NOT NULL,
  scope          TEXT    NOT NULL,
  resource       TEXT    NOT NULL,
  dpop_jkt       BLOB,
  expires_at     INTEGER NOT NULL,
  spent_for      BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_expiry ON codes (expires_at);

CREATE TABLE grants (
  handle            BLOB    PRIMARY KEY,
  client_id         TEXT    NOT NULL,
  subject           TEXT    NOT NULL,
  scope             TEXT    NOT NULL,          -- as granted; never narrowed by a refresh
  resource          TEXT    NOT NULL,
  auth_time         INTEGER NOT NULL,
  sender_constraint TEXT    NOT NULL,          -- none | dpop | dpop_key
  bound_key         BLOB,                      -- the thumbprint, for dpop_key
  tag_key           BLOB    NOT NULL,
  current_n         INTEGER NOT NULL,
  current_hash      BLOB    NOT NULL,
  previous_n        INTEGER,                   -- this and the next three: null until the first rotation
  previous_hash     BLOB,
  seed              BLOB,
  rotated_at        INTEGER,
  created_at        INTEGER NOT NULL,
  idle_expires_at   INTEGER NOT NULL,
  expires_at        INTEGER NOT NULL,
  ended_at          INTEGER,
  ended_by          TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_idle_expiry ON grants (idle_expires_at);
CREATE INDEX grants_expiry ON grants (expires_at);
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE sessions (
  digest     BLOB    PRIMARY KEY,
  subject    TEXT    NOT NULL,
  auth_time  INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- With a rowid, so that new rows, and their entries in the index of expiries, stand together on the last pages. Only the
-- index of keys, which are random, has to be written all over the place.
CREATE TABLE assertions (
  key        BLOB    NOT NULL UNIQUE,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX assertions_expiry ON assertions (expires_at);

CREATE TABLE signing_keys (
  generation   INTEGER PRIMARY KEY,
  kid          TEXT    NOT NULL,
  algorithm    TEXT    NOT NULL,
  sealed       BLOB    NOT NULL,
  published_at INTEGER NOT NULL,
  sign_from    INTEGER NOT NULL,
  retire_at    INTEGER NOT NULL,
  drop_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE root_key (
  only   INTEGER PRIMARY KEY CHECK (only = 1),
  sealed BLOB    NOT NULL
) STRICT;

CREATE TABLE last_alive (
  only    INTEGER PRIMARY KEY CHECK (only = 1),
  at      INTEGER NOT NULL,
  stopped INTEGER NOT NULL
) STRICT;

-- How many records each bounded table holds. Counting them at each insertion would take longer the more there are.
CREATE TABLE held (
  records_of TEXT    PRIMARY KEY,
  number     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO held VALUES ('codes', 0), ('grants', 0), ('sessions', 0), ('assertions', 0);

CREATE TRIGGER codes_added AFTER INSERT ON codes
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'codes'; END;
CREATE TRIGGER codes_removed AFTER DELETE ON codes
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'codes'; END;
CREATE TRIGGER grants_added AFTER INSERT ON grants
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'grants'; END;
CREATE TRIGGER grants_removed AFTER DELETE ON grants
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'grants'; END;
CREATE TRIGGER sessions_added AFTER INSERT ON sessions
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'sessions'; END;
CREATE TRIGGER sessions_removed AFTER DELETE ON sessions
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'sessions'; END;
CREATE TRIGGER assertions_added AFTER INSERT ON assertions
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'assertions'; END;
CREATE TRIGGER assertions_removed AFTER DELETE ON assertions
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'assertions'; END;
