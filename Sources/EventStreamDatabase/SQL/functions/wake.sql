-- ----------------------------------------------------------------------
-- Trigger function: wake(), after INSERT on the table of events
--
--      Makes the commit durable, refuses ids that have been delivered already, and notifies the pusher if it sleeps. NOTIFY in
--      every transaction would serialize all commits of the database.
--
-- Raises:
--      object_not_in_prerequisite_state (55000) if the sequence of ids was set back.
--
-- Cost:
--      it runs for each INSERT, so what nearly always holds is one condition: in PL/pgSQL an expression costs more to prepare, in each
--      transaction, than to compute. Where the pusher sleeps there is a second one: one for both would make evt_add cost 6 % more
--      while the pusher is awake. Where neither holds, everything is looked at again, one by one: to take the latch twice
--      is to hold it, and to notify twice is to notify once.
--
-- Locks:
--      the advisory lock "latch", shared, to the end of the transaction.
--
-- Who may call it:
--      nobody; the trigger fires for whoever inserts, with the rights of that role.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{wake}}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    drawn bigint;
    delivered bigint;
BEGIN
    IF pg_try_advisory_xact_lock_shared(({{lock latch}}::bigint << 32) | TG_RELID::bigint)
        AND current_setting('synchronous_commit') = 'on'
        AND pg_sequence_last_value({{'sequence}}::regclass) > pg_sequence_last_value({{'mark}}::regclass) THEN
        RETURN NULL;
    -- The same while the reader sleeps and has the latch. What notifies is the last condition, and none before it is ever NULL: that
    -- would not end the AND.
    ELSIF current_setting('synchronous_commit') = 'on'
        AND (pg_sequence_last_value({{'sequence}}::regclass) > pg_sequence_last_value({{'mark}}::regclass)) IS TRUE
        AND NOT pg_try_advisory_xact_lock_shared(({{lock latch}}::bigint << 32) | TG_RELID::bigint)
        AND (current_setting('max_prepared_transactions') = '0' OR COALESCE(current_setting('eventstream.notify', true), '') = 'on')
        AND pg_notify('evt_' || TG_RELID, '')::text IS NOT NULL THEN
        RETURN NULL;
    END IF;
    -- What others have been told of must not vanish: the commit waits for the disk, and for a synchronous standby.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- An event with an id that has been passed would reach nobody.
    drawn := pg_sequence_last_value({{'sequence}}::regclass);
    delivered := pg_sequence_last_value({{'mark}}::regclass);
    IF drawn < delivered THEN
        RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', {{'sequence}}, drawn, delivered
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                'it was set back; the pusher sets it right, or you: SELECT setval(%L, (SELECT last_value FROM %s))',
                {{'sequence}}, {{'mark}});
    ELSIF drawn = delivered OR drawn IS NOT NULL AND delivered IS NULL THEN
        PERFORM {{check_ids}}();
    END IF;
    -- Held to the end of the transaction: while someone has it shared, the reader does not go to sleep.
    IF NOT pg_try_advisory_xact_lock_shared(({{lock latch}}::bigint << 32) | TG_RELID::bigint) THEN
        -- A transaction that has notified cannot be prepared; where any may be, the reader polls instead.
        IF current_setting('max_prepared_transactions') = '0'
            OR current_setting('eventstream.notify', true) = 'on' THEN
            PERFORM pg_notify('evt_' || TG_RELID, '');
        END IF;
    END IF;
    RETURN NULL;
END $$;
