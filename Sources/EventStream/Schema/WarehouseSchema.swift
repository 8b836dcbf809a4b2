extension Migration {
    /// The warehouse database, in order.
    static let warehouse = [
        Migration(number: 1, name: "history", template: history),
        Migration(number: 2, name: "partitions", template: partitions),
        Migration(number: 3, name: "sums", template: sums),
        Migration(number: 4, name: "generation", template: generation),
        Migration(number: 5, name: "home", template: home),
    ]

    /// An existing history table, as futoin-eventstream made it, is used as it is.
    private static let history = #"""
        CREATE TABLE IF NOT EXISTS {{history}} (
            id bigint NOT NULL PRIMARY KEY,
            type varchar(16) NOT NULL,
            data json NOT NULL,
            ts timestamp NOT NULL
        );
        COMMENT ON TABLE {{history}} IS 'Every event there was; ts is UTC';

        CREATE TABLE {{positions}} (
            ident varchar(64) PRIMARY KEY,
            last_evt_id bigint NOT NULL DEFAULT 0,
            last_time timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE {{positions}} IS 'How far each archiver has come; moved in the transaction that copies the events';
        """#

    /// A history that is still empty becomes one partition a month; one that has events stays the table it is.
    private static let partitions = #"""
        DO $$
        DECLARE
            old_owner name;
            grants text[];
            item text;
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass({{'history}}) AND relkind = 'r') THEN
                RETURN;
            END IF;
            LOCK TABLE {{history}} IN ACCESS EXCLUSIVE MODE;
            IF EXISTS (SELECT FROM {{history}}) THEN
                RETURN;
            END IF;
            SELECT pg_get_userbyid(relowner) INTO old_owner FROM pg_class WHERE oid = to_regclass({{'history}});
            SELECT array_agg(format('GRANT %s ON %s TO %s', a.privilege_type, {{'history}},
                CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END))
                INTO grants FROM pg_class c, aclexplode(c.relacl) a
                WHERE c.oid = to_regclass({{'history}}) AND a.grantee <> c.relowner;
            BEGIN
                DROP TABLE {{history}};
            EXCEPTION WHEN dependent_objects_still_exist THEN
                -- Views on it, say: they matter more than partitions.
                RETURN;
            END;
            CREATE TABLE {{history}} (
                id bigint NOT NULL,
                type varchar(16) NOT NULL,
                data json NOT NULL,
                ts timestamp NOT NULL
            ) PARTITION BY RANGE (ts);
            COMMENT ON TABLE {{history}} IS 'Every event there was; ts is UTC';
            -- Small, and enough to find a time: events arrive in its order.
            CREATE INDEX ON {{history}} USING brin (ts) WITH (autosummarize = on);
            -- Nothing is ever refused for want of a partition.
            CREATE TABLE {{default}} PARTITION OF {{history}} (PRIMARY KEY (id)) DEFAULT;
            IF old_owner <> current_user THEN
                EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'history}}, old_owner);
                EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'default}}, old_owner);
            END IF;
            FOREACH item IN ARRAY COALESCE(grants, '{}') LOOP
                EXECUTE item;
            END LOOP;
        END $$;

        -- Makes the partitions of the months from one day to another that are not there yet, and returns how many. Events of
        -- these months that the default partition holds move. Runs as the owner: whoever archives needs no more than this.
        CREATE FUNCTION {{partitions}}(first date, last date) RETURNS integer
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
            PERFORM pg_advisory_xact_lock((1163285590::bigint << 32) | parent::bigint);
            WHILE month <= last LOOP
                leaf := format('%I.%I', space, parent_name || to_char(month, '"_y"YYYY"m"MM'));
                IF to_regclass(leaf) IS NULL THEN
                    -- In the order in which VACUUM and ANALYZE take them.
                    LOCK TABLE ONLY {{history}} IN SHARE UPDATE EXCLUSIVE MODE;
                    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', leaf, {{'history}});
                    LOCK TABLE {{default}} IN ACCESS EXCLUSIVE MODE;
                    EXECUTE format('WITH moved AS (DELETE FROM %s WHERE ts >= %L AND ts < %L RETURNING id, type, data, ts) '
                        'INSERT INTO %s (id, type, data, ts) SELECT id, type, data, ts FROM moved',
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
        REVOKE ALL ON FUNCTION {{partitions}}(date, date) FROM PUBLIC;
        DO $$
        DECLARE
            owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'history}}));
        BEGIN
            IF owner <> current_user THEN
                EXECUTE format('ALTER FUNCTION %s(date, date) OWNER TO %I', {{'partitions}}, owner);
            END IF;
        END $$;
        SELECT {{partitions}}((now() AT TIME ZONE 'UTC')::date, ((now() AT TIME ZONE 'UTC') + interval '3 months')::date);
        """#

    /// What each archiver copies, and what was found when its copy was compared with the active table.
    private static let sums = #"""
        ALTER TABLE {{positions}} ADD COLUMN want text[];
        COMMENT ON COLUMN {{positions}}.want IS 'The event types this archiver copies; NULL is all';

        CREATE TABLE {{sums}} (
            ident varchar(64) NOT NULL,
            first_id bigint NOT NULL,
            last_id bigint NOT NULL CHECK (last_id >= first_id),
            want text[],
            events bigint NOT NULL,
            checksum numeric NOT NULL,
            compared timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (ident, first_id)
        );
        COMMENT ON TABLE {{sums}} IS 'Ranges of ids in which the archive was equal to the active table before events were discarded there';
        """#

    /// Which life of the active database a position belongs to, and what earlier ones have left.
    private static let generation = #"""
        ALTER TABLE {{positions}}
            ADD COLUMN stream uuid,
            ADD COLUMN generation uuid,
            ADD COLUMN generation_start bigint NOT NULL DEFAULT 0,
            ADD COLUMN doubtful_after bigint NOT NULL DEFAULT 0,
            ADD COLUMN doubtful_id bigint NOT NULL DEFAULT 0;
        COMMENT ON COLUMN {{positions}}.generation_start IS 'Greater with each generation: nothing of an earlier one is archived any more';
        COMMENT ON COLUMN {{positions}}.doubtful_id IS 'Events after doubtful_after and up to here were archived in an earlier generation';

        CREATE TABLE {{lost}} (
            id bigint NOT NULL,
            type varchar(16) NOT NULL,
            data json NOT NULL,
            ts timestamp NOT NULL,
            ident varchar(64) NOT NULL,
            generation uuid NOT NULL,
            moved timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE {{lost}} IS 'Events that were archived, and are not in the active database since this generation';
        """#
}
