-- ----------------------------------------------------------------------
-- Function: check_type(type)
--
--      Fails for what is no event type of this stream, which was widened.
--
-- Raises:
--      check_violation (23514) if the type is not 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':', '/' and '-'.
--
-- Who may call it:
--      the owner; evt_add() runs with the owner's rights.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{check_type}}(type text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF $1 IS NULL OR $1 !~ '^[A-Za-z0-9_.:/-]{1,64}$' THEN
        RAISE EXCEPTION 'invalid event type: %', COALESCE(quote_literal(left($1, 80)), 'NULL')
            USING ERRCODE = 'check_violation', HINT = 'an event type is 1 to 64 of A-Z, a-z, 0-9, _, ., :, / and -';
    END IF;
END $$;
