-- ----------------------------------------------------------------------
-- Trigger function: registering(), before INSERT on the table of consumers, for each row
--
--      Waits while events are discarded, and gives a consumer that comes without a position, or with 0, the position before the
--      oldest event that is certain to be there. So each consumer is sure of all events after its position, however it is
--      registered. A transaction that sets eventstream.position to 'given' keeps the positions it inserts: 0 is the position before
--      the first event there has ever been.
--
-- Locks:
--      the advisory lock "discard", shared, to the end of the transaction. The discarder has it for itself while it decides and
--      deletes. ACCESS SHARE on the table of the state.
--
-- Who may call it:
--      nobody; the trigger fires for whoever registers. It runs with the rights of the owner: who may insert consumers need not be
--      allowed to read the state.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{registering}}() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(({{lock discard}}::bigint << 32) | {{'events}}::regclass::oid::bigint);
    IF COALESCE(NEW.last_evt_id, 0) = 0 AND COALESCE(current_setting('eventstream.position', true), '') <> 'given' THEN
        NEW.last_evt_id := COALESCE((SELECT discarded FROM {{state}}), 0);
    END IF;
    RETURN NEW;
END $$;
