-- Devices that wait for a person (RFC 8628).
CREATE TABLE devices (
  digest      BLOB    PRIMARY KEY,          -- of the device code
  user_code   BLOB    NOT NULL UNIQUE,      -- keyed: a plain hash of so short a code could be inverted
  client_id   TEXT    NOT NULL,
  scope       TEXT    NOT NULL,
  resource    TEXT    NOT NULL,
  dpop_jkt    BLOB,
  address     TEXT    NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  interval    INTEGER NOT NULL,             -- milliseconds
  next_poll   INTEGER NOT NULL,
  claimed_by  BLOB,
  decision    TEXT,                         -- approve | decline
  subject     TEXT,                         -- this and the next: for approve
  auth_time   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_expiry ON devices (expires_at);

INSERT INTO held VALUES ('devices', 0);
CREATE TRIGGER devices_added AFTER INSERT ON devices
  BEGIN UPDATE held SET number = number + 1 WHERE records_of = 'devices'; END;
CREATE TRIGGER devices_removed AFTER DELETE ON devices
  BEGIN UPDATE held SET number = number - 1 WHERE records_of = 'devices'; END;
