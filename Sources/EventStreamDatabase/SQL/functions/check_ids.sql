-- ----------------------------------------------------------------------
-- Function: check_ids()
--
--      Refuses an event whose id was drawn from a sequence that stands behind ids that have been delivered. For the rare moments in
--      which the sequences alone do not tell: nothing was delivered yet as far as the mark knows, or the id just drawn is the mark
--      itself. Ids that were not drawn, as in a restore, are not checked.
--
-- Parameters:
--      none
--
-- Raises:
--      object_not_in_prerequisite_state (55000), with the statement that sets the sequence right.
--
-- Locks:
--      ACCESS SHARE on the tables of events, state and consumers.
--
-- Who may call it:
--      everybody, because wake() calls it as whoever inserts. It runs with the rights of the owner, and tells nothing to a session
--      that has drawn no id.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{check_ids}}() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    mine bigint;
    passed bigint;
    present bigint;
BEGIN
    passed := GREATEST(pg_sequence_last_value({{'mark}}::regclass), (SELECT GREATEST(settled, discarded) FROM {{state}}),
        (SELECT max(last_evt_id) FROM {{consumers}}));
    -- The cheapest check first: until a pusher has been at work, each INSERT comes here.
    IF COALESCE(passed, 0) = 0 THEN
        RETURN;
    END IF;
    BEGIN
        mine := currval({{'sequence}}::regclass);
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN;  -- this session has drawn none
    END;
    IF mine > passed THEN
        RETURN;
    END IF;
    -- It may have been drawn earlier in the session, and what is inserted now have an id given by hand. Drawn now is what
    -- this transaction has inserted: that can be seen, and is in progress. The id of a row's transaction has 32 bits.
    present := pg_current_xact_id()::text::bigint;
    PERFORM FROM {{events}} e WHERE e.id = mine AND pg_xact_status((present
        - ((((present & 4294967295) - e.xmin::text::bigint + 2147483648) & 4294967295) - 2147483648))::text::xid8) = 'in progress';
    IF FOUND THEN
        RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', {{'sequence}},
            pg_sequence_last_value({{'sequence}}::regclass), passed
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                'it was set back, or not carried over to this database; the pusher sets it right, or you: SELECT setval(%L, %s)',
                {{'sequence}}, passed);
    END IF;
END $$;
