-- What people are told about their grants: how each began, and when it was last used.
ALTER TABLE grants ADD COLUMN origin TEXT;                          -- browser | device
ALTER TABLE grants ADD COLUMN origin_address TEXT;                  -- of the device
ALTER TABLE grants ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
UPDATE grants SET used_at = coalesce(rotated_at, created_at);

-- The sessions of a person, to end them all.
CREATE INDEX sessions_subject ON sessions (subject);
