-- When grants ended, and access tokens were revoked by name, by the clock of the database: who keeps them in memory reads
-- what is new by it. By the clock of who ended them, one that is slow, or whose clock is behind, would be overlooked.
ALTER TABLE grants ADD COLUMN noted_at bigint;
ALTER TABLE revocations ADD COLUMN noted_at bigint;

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.noted_at := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
  RETURN NEW;
END
$$;
CREATE TRIGGER noted BEFORE UPDATE OF ended_at ON grants FOR EACH ROW
  WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION note();
CREATE TRIGGER noted BEFORE INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION note();

CREATE INDEX grants_noted ON grants (noted_at) WHERE noted_at IS NOT NULL;
CREATE INDEX revocations_noted ON revocations (noted_at);
