-- What is granted in detail (RFC 9396), in JSON.
ALTER TABLE codes ADD COLUMN authorization_details TEXT NOT NULL DEFAULT '[]';
ALTER TABLE grants ADD COLUMN authorization_details TEXT NOT NULL DEFAULT '[]';
