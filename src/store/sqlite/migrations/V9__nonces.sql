-- `nonce` of authorization requests, for ID tokens (OpenID Connect Core §3.1.2.1).
ALTER TABLE codes ADD COLUMN nonce TEXT;
