-- When grants ended, and access tokens were revoked by name: who keeps them in memory reads what is new.
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;

ALTER TABLE revocations ADD COLUMN revoked_at bigint NOT NULL DEFAULT 0;
CREATE INDEX revocations_age ON revocations (revoked_at);
