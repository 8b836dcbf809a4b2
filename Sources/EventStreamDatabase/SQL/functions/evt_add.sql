-- ----------------------------------------------------------------------
-- Function: evt_add(type, data); <table>_add for a stream with another name
--
--      Records an event in the present transaction. The way for applications: safe to grant to those who may do nothing else.
--
-- Parameters:
--      type    - 1 to 16 of A-Z and _
--      data    - one JSON value of 8 MiB - 4 KiB at most
--
-- Returns:
--      the id of the new event.
--
-- Raises:
--      check_violation (23514) if the type is not valid or the data too large; not_null_violation (23502) without data.
--
-- Cost:
--      a valid event is known by one condition; what is wrong is looked for only if that does not hold, also because a value is NULL.
--      '+' and a length: a regular expression with {1,16} costs several times as much.
--
-- Locks:
--      ROW EXCLUSIVE on the table of events, and what wake() takes, to the end of the transaction.
--
-- Who may call it:
--      the owner, evt_app, and whom the owner grants it to. It runs with the rights of the owner.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{add}}(type text, data json) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id bigint;
BEGIN
    IF ($1 ~ '^[A-Z_]+$' AND length($1) <= 16 AND octet_length($2::text) <= 8384512) IS NOT TRUE THEN
        IF $1 IS NULL OR $1 !~ '^[A-Z_]{1,16}$' THEN
            RAISE EXCEPTION 'invalid event type: %', COALESCE(quote_literal(left($1, 40)), 'NULL')
                USING ERRCODE = 'check_violation', HINT = 'an event type is 1 to 16 of A-Z and _';
        END IF;
        IF $2 IS NULL THEN
            RAISE EXCEPTION 'event data must not be NULL'
                USING ERRCODE = 'not_null_violation', HINT = 'JSON has a null of its own: ''null''';
        END IF;
        IF octet_length($2::text) > 8 * 1024 * 1024 - 4096 THEN
            RAISE EXCEPTION 'event data is too large: % bytes, and the limit is % bytes', octet_length($2::text), 8 * 1024 * 1024 - 4096
                USING ERRCODE = 'check_violation', HINT = 'keep what is large elsewhere, and record where it is';
        END IF;
    END IF;
    INSERT INTO {{events}} (type, data) VALUES ($1, $2) RETURNING id INTO new_id;
    RETURN new_id;
END $$;
COMMENT ON FUNCTION {{add}}(text, json) IS 'Records an event in the present transaction and returns its id';
