-- ----------------------------------------------------------------------
-- Trigger function: registering(), before INSERT on the table of consumers
--
--      Waits while events are discarded: what a new consumer can expect to get is not discarded behind its back, however the
--      consumer is registered.
--
-- Locks:
--      the advisory lock "discard", shared, to the end of the transaction. The discarder has it for itself while it decides and
--      deletes.
--
-- Who may call it:
--      nobody; the trigger fires for whoever registers, with the rights of that role.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{registering}}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The discarder has this lock for itself while it decides and deletes.
    PERFORM pg_advisory_xact_lock_shared(({{lock discard}}::bigint << 32) | {{'events}}::regclass::oid::bigint);
    RETURN NULL;
END $$;
