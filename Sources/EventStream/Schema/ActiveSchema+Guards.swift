extension Migration {
    /// What is promised holds for every writer, in every state of the sequences, and a refusal says what is too large.
    static let guards = #"""
        -- For the rare moments in which the sequences alone do not tell: nothing was delivered yet as far as the mark knows, or the
        -- id just drawn is the mark itself. Ids that were not drawn, as in a restore, are none of its business.
        CREATE FUNCTION {{check_ids}}() RETURNS void
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
        DECLARE
            mine bigint;
            passed bigint;
            present bigint;
        BEGIN
            BEGIN
                mine := currval({{'sequence}}::regclass);
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                RETURN;  -- this session has drawn none
            END;
            passed := GREATEST(pg_sequence_last_value({{'mark}}::regclass), (SELECT GREATEST(settled, discarded) FROM {{state}}),
                (SELECT max(last_evt_id) FROM {{consumers}}));
            IF mine > passed OR passed IS NULL THEN
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
        -- Called for whoever inserts. It tells nothing to a session that has drawn no id.
        GRANT EXECUTE ON FUNCTION {{check_ids}}() TO PUBLIC;
        DO $$
        BEGIN
            EXECUTE format('ALTER FUNCTION %s() OWNER TO %I', {{'check_ids}},
                (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'events}})));
        END $$;

        CREATE OR REPLACE FUNCTION {{wake}}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            drawn bigint := pg_sequence_last_value({{'sequence}}::regclass);
            delivered bigint := pg_sequence_last_value({{'mark}}::regclass);
        BEGIN
            -- What others have been told of must not vanish: the commit waits for the disk, and for a synchronous standby.
            IF current_setting('synchronous_commit') IN ('off', 'local') THEN
                PERFORM set_config('synchronous_commit', 'on', true);
            END IF;
            -- An event with an id that has been passed would reach nobody.
            IF drawn < delivered THEN
                RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', {{'sequence}}, drawn, delivered
                    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                        'it was set back; the pusher sets it right, or you: SELECT setval(%L, (SELECT last_value FROM %s))',
                        {{'sequence}}, {{'mark}});
            ELSIF drawn = delivered OR drawn IS NOT NULL AND delivered IS NULL THEN
                PERFORM {{check_ids}}();
            END IF;
            -- Held to the end of the transaction: while someone has it shared, the reader does not go to sleep.
            IF NOT pg_try_advisory_xact_lock_shared((1163285587::bigint << 32) | TG_RELID::bigint) THEN
                -- A transaction that has notified cannot be prepared; where any may be, the reader polls instead.
                IF current_setting('max_prepared_transactions') = '0'
                    OR current_setting('eventstream.notify', true) = 'on' THEN
                    PERFORM pg_notify('evt_' || TG_RELID, '');
                END IF;
            END IF;
            RETURN NULL;
        END $$;
        -- Also for who writes with session_replication_role = replica.
        ALTER TABLE {{events}} ENABLE ALWAYS TRIGGER wake;
        ALTER TABLE {{consumers}} ENABLE ALWAYS TRIGGER registering;

        CREATE OR REPLACE FUNCTION {{add}}(type text, data json) RETURNS bigint
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE
            new_id bigint;
        BEGIN
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
            INSERT INTO {{events}} (type, data) VALUES ($1, $2) RETURNING id INTO new_id;
            RETURN new_id;
        END $$;
        """#
}
