-- The grants of a person at a client, by their age: very many of them do not all live on.
CREATE INDEX grants_subject ON grants (subject, client_id, created_at) WHERE ended_at IS NULL;
