-- ----------------------------------------------------------------------
-- Function: <history>_partitions(first, last)
--
--      Makes the partitions of the months from one day to another that are not there yet. Events of these months that the default
--      partition holds move. Does nothing for a plain history table, or for one that somebody else has partitioned.
--
-- Parameters:
--      first   - a day of the first month
--      last    - a day of the last month
--
-- Returns:
--      how many partitions were made.
--
-- Locks:
--      the advisory lock "partitions" for itself, to the end of the transaction; if a partition is made, SHARE UPDATE EXCLUSIVE on
--      the history and ACCESS EXCLUSIVE on the default partition, for which it waits 100 ms at most.
--
-- Who may call it:
--      the owner and evt_archiver. It runs with the rights of the owner: whoever archives needs no more than this.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{partitions}}(first date, last date) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    month date := date_trunc('month', first);
    parent oid := {{'history}}::regclass;
    space name;
    parent_name name;
    leaf text;
    made integer := 0;
BEGIN
    -- Not of a table somebody else has partitioned, in a way of his own.
    SELECT nspname, relname INTO space, parent_name
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_partitioned_table p ON partrelid = c.oid
        WHERE c.oid = parent AND partdefid = to_regclass({{'default}});
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(({{lock partitions}}::bigint << 32) | parent::bigint);
    WHILE month <= last LOOP
        leaf := format('%I.%I', space, parent_name || to_char(month, '"_y"YYYY"m"MM'));
        IF to_regclass(leaf) IS NULL THEN
            -- In the order in which VACUUM and ANALYZE take them.
            LOCK TABLE ONLY {{history}} IN SHARE UPDATE EXCLUSIVE MODE;
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', leaf, {{'history}});
            LOCK TABLE {{default}} IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('WITH moved AS (DELETE FROM %s WHERE ts >= %L AND ts < %L RETURNING id, type, data, ts, key, meta) '
                'INSERT INTO %s (id, type, data, ts, key, meta) SELECT id, type, data, ts, key, meta FROM moved',
                {{'default}}, month, month + interval '1 month', leaf);
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', leaf);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                {{'history}}, leaf, month, month + interval '1 month');
            made := made + 1;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;
