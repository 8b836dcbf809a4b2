-- ----------------------------------------------------------------------
-- Function: check_type(type)
--
--      Fails for what is no event type of this stream. Replaced by check_type_wide.sql where the stream is widened.
--
-- Raises:
--      check_violation (23514) if the type is not 1 to 16 of A-Z and _.
--
-- Who may call it:
--      the owner; evt_add() runs with the owner's rights.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{check_type}}(type text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF $1 IS NULL OR $1 !~ '^[A-Z_]{1,16}$' THEN
        RAISE EXCEPTION 'invalid event type: %', COALESCE(quote_literal(left($1, 40)), 'NULL')
            USING ERRCODE = 'check_violation',
                HINT = 'an event type is 1 to 16 of A-Z and _; evt migrate --wide-types lets the stream take longer names';
    END IF;
END $$;
