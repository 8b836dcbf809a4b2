-- ----------------------------------------------------------------------
-- Function: evt_add(type, data, key, meta, idempotency_key); <table>_add for a stream with another name
--
--      Records an event in the present transaction. The way for applications: safe to grant to those who may do nothing else.
--
-- Parameters:
--      type            - 1 to 16 of A-Z and _; more in a stream with wide types (see check_type())
--      data            - one JSON value of 8 MiB - 4 KiB at most; json, jsonb, or its text
--      key             - what the event is about, 1 to 128 bytes; NULL for none
--      meta            - a JSON object of 4096 bytes at most; NULL for that of the setting eventstream.meta, or none
--      idempotency_key - 1 to 200 bytes: a repeated call with the same one records nothing; NULL for none
--
-- Returns:
--      the id of the new event; for a repeated idempotency key, the id of the first one's event.
--
-- Raises:
--      check_violation (23514) if type, key, meta or idempotency key is not valid or the data too large; not_null_violation (23502)
--      without data; invalid_text_representation (22P02) for a text that is no JSON; EVT02 for an idempotency key that was used for
--      another event; serialization_failure (40001) for a key used since the snapshot of the transaction was taken.
--
-- Cost:
--      an event with nothing but type and data is known by one condition; everything else is left to record(). '+' and a length: a
--      regular expression with {1,16} costs several times as much. A literal without a type is taken for text: it has a function of
--      its own, not one that calls another.
--
-- Locks:
--      ROW EXCLUSIVE on the table of events, and what wake() takes; with an idempotency key what once() takes. All to the end of the
--      transaction.
--
-- Who may call it:
--      the owner, evt_app, and whom the owner grants it to. It runs with the rights of the owner.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{add}}(
    type text, data json, key text DEFAULT NULL, meta json DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id bigint;
BEGIN
    IF $1 ~ '^[A-Z_]+$' AND length($1) <= 16 AND octet_length($2::text) <= 8384512
        AND $3 IS NULL AND $4 IS NULL AND $5 IS NULL THEN
        INSERT INTO {{events}} (type, data) VALUES ($1, $2) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    RETURN {{record}}($1, $2, $3, $4, $5);
END $$;
COMMENT ON FUNCTION {{add}}(text, json, text, json, text) IS 'Records an event in the present transaction and returns its id';

CREATE OR REPLACE FUNCTION {{add}}(
    type text, data text, key text DEFAULT NULL, meta json DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id bigint;
BEGIN
    IF $1 ~ '^[A-Z_]+$' AND length($1) <= 16 AND octet_length($2) <= 8384512
        AND $3 IS NULL AND $4 IS NULL AND $5 IS NULL THEN
        INSERT INTO {{events}} (type, data) VALUES ($1, $2::json) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    RETURN {{record}}($1, $2::json, $3, $4, $5);
END $$;
COMMENT ON FUNCTION {{add}}(text, text, text, json, text) IS 'Records an event in the present transaction and returns its id';

CREATE OR REPLACE FUNCTION {{add}}(
    type text, data jsonb, key text DEFAULT NULL, meta json DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT {{add}}($1, $2::pg_catalog.text, $3, $4, $5)
$$;
COMMENT ON FUNCTION {{add}}(text, jsonb, text, json, text) IS 'Records an event in the present transaction and returns its id';
