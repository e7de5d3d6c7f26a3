-- Times are milliseconds since 1970-01-01T00:00:00Z. What opens a door is a SHA-256 or sealed. Names that others choose
-- freely are bytes: they may hold characters that text cannot.

CREATE TABLE codes (
  digest                bytea   PRIMARY KEY,
  transaction_id        bytea   NOT NULL UNIQUE,   -- a transaction gives one code
  client_id             text    NOT NULL,
  redirect_uri          text    NOT NULL,
  challenge             bytea,                     -- null for a client that may go without
  subject               text    NOT NULL,
  auth_time             bigint  NOT NULL,
  acr                   text,
  scope                 text    NOT NULL,
  resource              text    NOT NULL,
  authorization_details text    NOT NULL,          -- RFC 9396, in JSON
  dpop_jkt              bytea,
  nonce                 bytea,                     -- OpenID Connect Core §3.1.2.1
  claims                text    NOT NULL,          -- OpenID Connect Core §5.5
  session_id            bytea,                     -- in which it was approved
  expires_at            bigint  NOT NULL,
  spent_for             bytea
);
CREATE INDEX codes_expiry ON codes (expires_at);

-- Authorization transactions that ended without a code, until their time is over.
CREATE TABLE ended_transactions (
  transaction_id bytea  PRIMARY KEY,
  expires_at     bigint NOT NULL
);
CREATE INDEX ended_transactions_expiry ON ended_transactions (expires_at);

-- Pushed authorization requests (RFC 9126).
CREATE TABLE pushed_requests (
  digest         bytea   PRIMARY KEY,              -- of the request_uri
  transaction_id bytea   NOT NULL UNIQUE,          -- that every load of the page continues
  client_id      text    NOT NULL,
  parameters     text    NOT NULL,                 -- a form, without credentials
  expires_at     bigint  NOT NULL,
  spent          boolean NOT NULL                  -- it was answered
);
CREATE INDEX pushed_requests_expiry ON pushed_requests (expires_at);
CREATE INDEX pushed_requests_client ON pushed_requests (client_id, expires_at) WHERE NOT spent;

-- Devices that wait for a person (RFC 8628).
CREATE TABLE devices (
  digest         bytea  PRIMARY KEY,               -- of the device code
  user_code      bytea  NOT NULL UNIQUE,           -- keyed: a plain hash of so short a code could be inverted
  client_id      text   NOT NULL,
  scope          text   NOT NULL,
  resource       text   NOT NULL,
  dpop_jkt       bytea,
  address        text   NOT NULL,
  created_at     bigint NOT NULL,
  expires_at     bigint NOT NULL,
  poll_interval  bigint NOT NULL,                  -- milliseconds
  next_poll      bigint NOT NULL,
  claimed_by     bytea,
  decision       text,                             -- approve | decline
  subject        text,                             -- this and the next two: for approve
  auth_time      bigint,
  acr            text
);
CREATE INDEX devices_expiry ON devices (expires_at);

-- A refresh writes a row of this table and, but for once an hour, of no index: `due` stays as it is, and there is room
-- on the page.
CREATE TABLE grants (
  handle                bytea  PRIMARY KEY,
  client_id             text   NOT NULL,
  subject               text   NOT NULL,
  scope                 text   NOT NULL,           -- as granted; never narrowed by a refresh
  resource              text   NOT NULL,
  authorization_details text   NOT NULL,           -- RFC 9396, in JSON
  claims                text   NOT NULL,           -- OpenID Connect Core §5.5
  session_id            bytea,                     -- in which it began
  origin                text,                      -- browser | device
  origin_address        text,                      -- of the device
  auth_time             bigint NOT NULL,
  acr                   text,
  sender_constraint     text   NOT NULL,           -- none | dpop | dpop_key | certificate | this_certificate
  bound_key             bytea,                     -- the thumbprint, for dpop_key and this_certificate
  tag_key               bytea  NOT NULL,
  current_n             bigint NOT NULL,
  current_hash          bytea  NOT NULL,
  previous_n            bigint,                    -- this and the next three: null until the first rotation
  previous_hash         bytea,
  seed                  bytea,
  rotated_at            bigint,
  created_at            bigint NOT NULL,
  used_at               bigint NOT NULL,
  idle_expires_at       bigint NOT NULL,
  expires_at            bigint NOT NULL,
  ended_at              bigint,
  ended_by              text,
  -- The hour in which it ends.
  due bigint NOT NULL GENERATED ALWAYS AS (least(idle_expires_at, expires_at, ended_at) / 3600000 * 3600000) STORED
) WITH (fillfactor = 75);
CREATE INDEX grants_due ON grants (due);
-- The grants of a person at a client, by their age: very many of them do not all live on.
CREATE INDEX grants_subject ON grants (subject, client_id, created_at) WHERE ended_at IS NULL;

CREATE TABLE sessions (
  digest          bytea  PRIMARY KEY,
  id              bytea  NOT NULL,                 -- its name, which stays when the same person signs in again
  subject         text   NOT NULL,
  auth_time       bigint NOT NULL,
  acr             text,
  idle_expires_at bigint NOT NULL,
  expires_at      bigint NOT NULL,
  -- The hour in which it ends.
  due bigint NOT NULL GENERATED ALWAYS AS (least(idle_expires_at, expires_at) / 3600000 * 3600000) STORED
) WITH (fillfactor = 75);
CREATE INDEX sessions_due ON sessions (due);
CREATE INDEX sessions_subject ON sessions (subject);

-- At which clients a session has signed its person in, and what the person approved there.
CREATE TABLE session_clients (
  session_id            bytea  NOT NULL,
  client_id             text   NOT NULL,
  subject               text   NOT NULL,
  scope                 text   NOT NULL,
  resource              text   NOT NULL,
  authorization_details text   NOT NULL,
  claims                text   NOT NULL,
  expires_at            bigint NOT NULL,
  PRIMARY KEY (session_id, client_id)
);
CREATE INDEX session_clients_subject ON session_clients (subject);
CREATE INDEX session_clients_expiry ON session_clients (expires_at);

-- People whom somebody else vouches for, as they were last seen.
CREATE TABLE people (
  subject      text    PRIMARY KEY,
  name         bytea   NOT NULL,
  email        bytea,
  claims       text    NOT NULL,                   -- a JSON object
  disabled     boolean NOT NULL,
  last_seen    bigint  NOT NULL,
  needed_until bigint  NOT NULL
);
CREATE INDEX people_unneeded ON people (needed_until) WHERE NOT disabled;

CREATE TABLE assertions (
  key        bytea  PRIMARY KEY,
  expires_at bigint NOT NULL
);
CREATE INDEX assertions_expiry ON assertions (expires_at);

-- Access tokens that were revoked by name (RFC 7009): those that no grant ends with.
CREATE TABLE revocations (
  token      bytea  PRIMARY KEY,                   -- SHA-256 of the jti
  expires_at bigint NOT NULL
);
CREATE INDEX revocations_expiry ON revocations (expires_at);

-- Access tokens that are handles (RFC 6749 §1.4), each with what a JWT in its place would say.
CREATE TABLE access_tokens (
  digest     bytea  PRIMARY KEY,                   -- SHA-256 of the handle
  claims     text   NOT NULL,                      -- a JSON object (RFC 9068 §2.2)
  expires_at bigint NOT NULL
);
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);

CREATE TABLE signing_keys (
  generation   bigint PRIMARY KEY,
  kid          text   NOT NULL,
  algorithm    text   NOT NULL,
  sealed       bytea  NOT NULL,
  published_at bigint NOT NULL,
  sign_from    bigint NOT NULL,
  retire_at    bigint NOT NULL,
  drop_at      bigint NOT NULL
);

CREATE TABLE root_key (
  one    integer PRIMARY KEY CHECK (one = 1),
  sealed bytea   NOT NULL
);

-- The last sign of life of each process that serves, or served within a day.
CREATE TABLE lives (
  life    uuid    PRIMARY KEY,
  at      bigint  NOT NULL,
  stopped boolean NOT NULL
);

-- How many records each bounded table holds. Counting them at each insertion would take longer the more there are, and
-- one row for each table would be written by everybody, one after the other: so each number is the sum of many.
CREATE TABLE held (
  records_of text    NOT NULL,
  slot       integer NOT NULL,
  number     bigint  NOT NULL,
  PRIMARY KEY (records_of, slot)
) WITH (fillfactor = 50);
INSERT INTO held SELECT records_of, slot, 0
  FROM unnest(ARRAY['codes', 'ended_transactions', 'pushed_requests', 'devices', 'grants', 'sessions',
                    'session_clients', 'people',
                    'assertions', 'revocations', 'access_tokens']) AS records_of,
       generate_series(0, 31) AS slot;

CREATE FUNCTION holds(records text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT sum(number)::bigint FROM held WHERE records_of = records
$$;

CREATE FUNCTION count_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM changed) THEN
    UPDATE held SET number = number + (SELECT count(*) FROM changed)
      WHERE records_of = TG_TABLE_NAME AND slot = pg_backend_pid() % 32;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION count_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM changed) THEN
    UPDATE held SET number = number - (SELECT count(*) FROM changed)
      WHERE records_of = TG_TABLE_NAME AND slot = pg_backend_pid() % 32;
  END IF;
  RETURN NULL;
END
$$;

CREATE TRIGGER added AFTER INSERT ON codes
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON codes
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON ended_transactions
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON ended_transactions
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON pushed_requests
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON pushed_requests
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON devices
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON devices
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON grants
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON grants
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON sessions
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON sessions
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON session_clients
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON session_clients
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON people
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON people
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON assertions
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON assertions
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON revocations
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON revocations
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();
CREATE TRIGGER added AFTER INSERT ON access_tokens
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_added();
CREATE TRIGGER removed AFTER DELETE ON access_tokens
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_removed();

-- A transaction gives a code or ends without one: never both, and nothing twice. No constraint can say that of two
-- tables. Whoever comes second waits here, and then sees what the first has done: each statement in the function does.
CREATE FUNCTION answer_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(encode(NEW.transaction_id, 'hex'), 1));
  IF EXISTS (SELECT FROM codes WHERE transaction_id = NEW.transaction_id)
     OR EXISTS (SELECT FROM ended_transactions WHERE transaction_id = NEW.transaction_id) THEN
    RETURN NULL; -- adds nothing
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER answer_once BEFORE INSERT ON codes FOR EACH ROW EXECUTE FUNCTION answer_once();
CREATE TRIGGER answer_once BEFORE INSERT ON ended_transactions FOR EACH ROW EXECUTE FUNCTION answer_once();

-- Ends all but the newest live grants of a person at a client, so that `others` are left beside the newest. Those who
-- begin grants of one person at one client at the same time wait here for each other, and then see those grants.
CREATE FUNCTION supersede(newest bytea, person text, client text, others bigint, moment bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(client || ' ' || person, 2));
  UPDATE grants SET ended_at = moment, ended_by = 'superseded' WHERE handle IN (
    SELECT handle FROM grants
    WHERE subject = person AND client_id = client AND ended_at IS NULL
      AND expires_at > moment AND idle_expires_at > moment AND handle <> newest
    ORDER BY created_at DESC, handle DESC OFFSET others);
END
$$;
