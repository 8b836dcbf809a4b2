-- ----------------------------------------------------------------------
-- Function: record(type, data, key, meta, idempotency_key)
--
--      What evt_add() does for an event that has more than type and data, has a wide type, or is not valid.
--
-- Parameters, Raises:
--      as of evt_add(); key and meta are checked by the table.
--
-- Returns:
--      the id of the event.
--
-- Who may call it:
--      the owner; evt_add() runs with the owner's rights.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{record}}(type text, data json, key text, meta json, idempotency_key text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    new_id bigint;
BEGIN
    PERFORM {{check_type}}($1);
    IF $2 IS NULL THEN
        RAISE EXCEPTION 'event data must not be NULL'
            USING ERRCODE = 'not_null_violation', HINT = 'JSON has a null of its own: ''null''';
    END IF;
    IF octet_length($2::text) > 8 * 1024 * 1024 - 4096 THEN
        RAISE EXCEPTION 'event data is too large: % bytes, and the limit is % bytes', octet_length($2::text), 8 * 1024 * 1024 - 4096
            USING ERRCODE = 'check_violation', HINT = 'keep what is large elsewhere, and record where it is';
    END IF;
    IF $5 IS NULL THEN
        INSERT INTO {{events}} (type, data, key, meta)
            VALUES ($1, $2, $3, COALESCE($4, NULLIF(current_setting('eventstream.meta', true), '')::json)) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    IF octet_length($5) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'invalid idempotency key: % bytes, and the limit is 200 bytes', octet_length($5)
            USING ERRCODE = 'check_violation', HINT = 'an idempotency key is 1 to 200 bytes; a call without one has NULL';
    END IF;
    new_id := {{once}}($1, $2, $3, $4, $5);
    IF new_id IS NULL THEN
        RAISE EXCEPTION 'the idempotency key % was used for another event', quote_literal(left($5, 40))
            USING ERRCODE = 'EVT02',
                HINT = 'a repeat has the same type, data, key and meta; another event needs another idempotency key';
    END IF;
    RETURN new_id;
END $$;
