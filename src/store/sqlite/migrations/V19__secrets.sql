-- Beside each signing key the secret that nonces, forms and cookies are made under while it signs, sealed. NULL was written by
-- a version that made them all under the root key.
ALTER TABLE signing_keys ADD COLUMN secret BLOB;
