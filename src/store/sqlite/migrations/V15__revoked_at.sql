-- When access tokens were revoked by name: who keeps them in memory reads what is new.
ALTER TABLE revocations ADD COLUMN revoked_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX revocations_age ON revocations (revoked_at);
