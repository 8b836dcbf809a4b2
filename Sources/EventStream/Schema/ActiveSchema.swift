extension Migration {
    /// The active database, in order.
    static let active = [
        Migration(number: 1, name: "stream", template: stream),
        Migration(number: 2, name: "wake", template: wake),
        Migration(number: 3, name: "add", template: add),
        Migration(number: 4, name: "registration", template: registration),
        Migration(number: 5, name: "discard", template: discard),
        Migration(number: 6, name: "generation", template: generation),
        Migration(number: 7, name: "owner", template: owner),
        Migration(number: 8, name: "want", template: want),
        Migration(number: 9, name: "guards", template: guards),
        Migration(number: 10, name: "archives", template: archives),
        Migration(number: 11, name: "positions", template: positions),
    ]

    /// Tables. Existing futoin-eventstream tables are adopted: rows, positions, sequence and grants are kept.
    private static let stream = #"""
        -- An existing plain event table makes room for the ring of segments.
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass({{'events}}) AND relkind = 'r') THEN
                LOCK TABLE {{events}} IN ACCESS EXCLUSIVE MODE;
                IF EXISTS (SELECT FROM {{events}} WHERE type !~ '^[A-Z_]{1,16}$' OR id NOT BETWEEN 1 AND 999999999999999999) THEN
                    RAISE EXCEPTION 'the events with ids % have a type that is not 1 to 16 of A-Z and _, or an id out of range',
                        (SELECT array_agg(id) FROM (SELECT id FROM {{events}}
                            WHERE type !~ '^[A-Z_]{1,16}$' OR id NOT BETWEEN 1 AND 999999999999999999 ORDER BY id LIMIT 10) bad)
                        USING HINT = 'correct or delete these rows, then migrate again';
                END IF;
                IF to_regclass({{'sequence}}) IS NOT NULL THEN
                    ALTER SEQUENCE {{sequence}} OWNED BY NONE;
                END IF;
                ALTER TABLE {{events}} RENAME TO {{adopted_name}};
            END IF;
        END $$;

        CREATE SEQUENCE IF NOT EXISTS {{sequence}} AS bigint;
        ALTER SEQUENCE {{sequence}} MINVALUE 1 MAXVALUE 999999999999999999 CACHE 1 NO CYCLE;

        -- A ring of segments, so that one whose events are all confirmed can be emptied whole and nothing bloats.
        -- Writers use this table. Their lock on it, taken before they draw an id, is what keeps the order sound.
        CREATE TABLE {{events}} (
            id bigint NOT NULL DEFAULT nextval({{'sequence}}) CHECK (id BETWEEN 1 AND 999999999999999999),
            type varchar(16) NOT NULL CHECK (type ~ '^[A-Z_]{1,16}$'),
            data json NOT NULL,
            ts timestamp NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')
                CHECK (ts >= '0001-01-01' AND ts < '10000-01-01'),
            -- What an event weighs, so that readers can bound a page without unpacking it.
            bytes integer GENERATED ALWAYS AS (octet_length(data::text)) STORED
                CHECK (bytes <= 8 * 1024 * 1024 - 4096)
        ) PARTITION BY LIST (((id >> {{bits}}) & 7));
        COMMENT ON TABLE {{events}} IS 'Events not yet discarded';

        CREATE TABLE {{segment0}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (0);
        CREATE TABLE {{segment1}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (1);
        CREATE TABLE {{segment2}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (2);
        CREATE TABLE {{segment3}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (3);
        CREATE TABLE {{segment4}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (4);
        CREATE TABLE {{segment5}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (5);
        CREATE TABLE {{segment6}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (6);
        CREATE TABLE {{segment7}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (7);

        CREATE TABLE IF NOT EXISTS {{consumers}} (
            id smallserial PRIMARY KEY,
            last_evt_id bigint NOT NULL DEFAULT 0,
            reg_time timestamp NOT NULL,
            last_time timestamp NOT NULL,
            ident varchar(64) NOT NULL UNIQUE
        );
        -- An index on the position would make every move of it write the index, too.
        DROP INDEX IF EXISTS {{consumers_index}};
        ALTER TABLE {{consumers}}
            ALTER COLUMN reg_time SET DEFAULT (now() AT TIME ZONE 'UTC'),
            ALTER COLUMN last_time SET DEFAULT (now() AT TIME ZONE 'UTC'),
            -- Which pusher serves the consumer, and the token that fences all earlier ones.
            ADD COLUMN IF NOT EXISTS session_owner bigint,
            ADD COLUMN IF NOT EXISTS session_epoch bigint NOT NULL DEFAULT 0,
            SET (fillfactor = 50);
        COMMENT ON TABLE {{consumers}} IS 'Registered consumers and the last event each has confirmed';

        CREATE TABLE {{pushers}} (
            id bigint PRIMARY KEY,
            beat bigint NOT NULL DEFAULT 0,
            started timestamptz NOT NULL DEFAULT now(),
            application text NOT NULL DEFAULT ''
        );
        COMMENT ON TABLE {{pushers}} IS 'Pushers at work; one whose beat stands still is dead';

        CREATE TABLE {{state}} (
            only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            settled bigint NOT NULL DEFAULT 0,
            discarded bigint NOT NULL DEFAULT 0
        );
        COMMENT ON TABLE {{state}} IS 'Up to which id every event is known, and up to which they were discarded';
        INSERT INTO {{state}} DEFAULT VALUES;

        DO $$
        DECLARE
            old_owner name;
            item text;
            right_held record;
        BEGIN
            IF to_regclass({{'adopted}}) IS NOT NULL THEN
                INSERT INTO {{events}} (id, type, data, ts) SELECT id, type, data, ts FROM {{adopted}} ORDER BY id;
                -- Nobody else is writing: what is here is all there is.
                UPDATE {{state}} SET settled = GREATEST(
                    (SELECT COALESCE(max(id), 0) FROM {{events}}), (SELECT COALESCE(max(last_evt_id), 0) FROM {{consumers}}));
                PERFORM setval({{'sequence}}, GREATEST((SELECT last_value FROM {{sequence}}), settled), true)
                    FROM {{state}} WHERE settled > 0;
                SELECT pg_get_userbyid(relowner) INTO old_owner FROM pg_class WHERE oid = to_regclass({{'adopted}});
                IF old_owner <> current_user THEN
                    FOREACH item IN ARRAY ARRAY[{{'events}}, {{'state}}, {{'pushers}}, {{'segment0}}, {{'segment1}}, {{'segment2}},
                        {{'segment3}}, {{'segment4}}, {{'segment5}}, {{'segment6}}, {{'segment7}}]
                    LOOP
                        EXECUTE format('ALTER TABLE %s OWNER TO %I', item, old_owner);
                    END LOOP;
                END IF;
                FOR right_held IN
                    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee,
                        -- Ids are drawn, never given: who may insert may insert the rest.
                        CASE WHEN a.privilege_type = 'INSERT' THEN 'INSERT (type, data, ts)' ELSE a.privilege_type END AS privilege
                    FROM pg_class c, aclexplode(c.relacl) a
                    WHERE c.oid = to_regclass({{'adopted}}) AND a.grantee <> c.relowner
                LOOP
                    EXECUTE format('GRANT %s ON %s TO %s', right_held.privilege, {{'events}}, right_held.grantee);
                END LOOP;
                DROP TABLE {{adopted}};
            END IF;
        END $$;
        ALTER SEQUENCE {{sequence}} OWNED BY {{events}}.id;
        """#

    /// NOTIFY only while the reader sleeps: in every transaction it would serialize all commits of the database.
    private static let wake = #"""
        CREATE FUNCTION {{wake}}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
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
        CREATE TRIGGER wake AFTER INSERT ON {{events}} FOR EACH STATEMENT EXECUTE FUNCTION {{wake}}();
        """#

    /// The way for applications: safe to grant to those who may do nothing else.
    private static let add = #"""
        CREATE FUNCTION {{add}}(type text, data json) RETURNS bigint
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
            INSERT INTO {{events}} (type, data) VALUES ($1, $2) RETURNING id INTO new_id;
            RETURN new_id;
        END $$;
        REVOKE ALL ON FUNCTION {{add}}(text, json) FROM PUBLIC;
        COMMENT ON FUNCTION {{add}}(text, json) IS 'Records an event in the present transaction and returns its id';
        """#

    /// What a new consumer can expect to get is not discarded behind its back, however it is registered.
    private static let registration = #"""
        CREATE FUNCTION {{registering}}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- The discarder has this lock for itself while it decides and deletes.
            PERFORM pg_advisory_xact_lock_shared((1163285572::bigint << 32) | {{'events}}::regclass::oid::bigint);
            RETURN NULL;
        END $$;
        CREATE TRIGGER registering BEFORE INSERT ON {{consumers}} FOR EACH STATEMENT EXECUTE FUNCTION {{registering}}();
        """#

    /// What the discarder tells of itself.
    private static let discard = #"""
        ALTER TABLE {{state}} ADD COLUMN refusal text;
        ALTER TABLE {{consumers}} ADD COLUMN IF NOT EXISTS verified_evt_id bigint NOT NULL DEFAULT 0;
        COMMENT ON COLUMN {{consumers}}.verified_evt_id IS 'Of an archiver: up to here its archive was seen to hold the events';
        COMMENT ON COLUMN {{state}}.refusal IS 'Why confirmed events are kept nevertheless; NULL if they are not';
        -- What an adopted database has not got any more was discarded before.
        UPDATE {{state}} SET discarded = GREATEST(discarded, LEAST(settled,
            COALESCE((SELECT min(id) - 1 FROM {{events}}), settled)));
        """#

    /// In an adopted table of another owner: what he lets a trigger do there, it does with no more rights than his own.
    private static let owner = #"""
        DO $$
        BEGIN
            EXECUTE format('ALTER FUNCTION %s(text, json) OWNER TO %I', {{'add}},
                (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'events}})));
        END $$;
        """#

    /// What is not wanted does not wait, and who beats rarely is not dead: without this nobody but the pusher could tell.
    private static let want = #"""
        ALTER TABLE {{consumers}} ADD COLUMN IF NOT EXISTS want text[];
        ALTER TABLE {{pushers}} ADD COLUMN beat_interval double precision NOT NULL DEFAULT 3;
        COMMENT ON COLUMN {{pushers}}.beat_interval IS 'How often it gives a sign of life, in seconds';
        COMMENT ON COLUMN {{consumers}}.want IS 'Event types it asked for when it was last served; NULL is all';
        """#

    /// What shows that a database went back, and keeps it from doing harm.
    private static let generation = #"""
        ALTER TABLE {{state}}
            ADD COLUMN stream uuid NOT NULL DEFAULT gen_random_uuid(),
            ADD COLUMN generation uuid NOT NULL DEFAULT gen_random_uuid(),
            ADD COLUMN generation_since timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN generation_reason text,
            ADD COLUMN leap bigint NOT NULL DEFAULT 0,
            ADD COLUMN place text;
        ALTER TABLE {{consumers}} ADD COLUMN IF NOT EXISTS began_evt_id bigint NOT NULL DEFAULT 0;
        COMMENT ON COLUMN {{consumers}}.began_evt_id IS 'What it had confirmed, or was discarded, when the generation began';
        COMMENT ON COLUMN {{state}}.stream IS 'Names this stream for ever, also in copies of the database';
        COMMENT ON COLUMN {{state}}.generation IS 'Another one since the database may lack events that were delivered';
        COMMENT ON COLUMN {{state}}.leap IS 'Ids up to here may be of an earlier generation; those drawn in this one are beyond';
        COMMENT ON COLUMN {{state}}.place IS 'The server, its timeline and the table this generation was begun in';

        -- Up to here events have been delivered. A sequence, because writers can look at it without reading a table.
        CREATE SEQUENCE {{mark}} AS bigint MAXVALUE 999999999999999999 CACHE 1;
        GRANT SELECT ON SEQUENCE {{mark}} TO PUBLIC;
        DO $$
        DECLARE
            owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}}));
        BEGIN
            IF owner <> current_user THEN
                EXECUTE format('ALTER SEQUENCE %s OWNER TO %I', {{'mark}}, owner);
            END IF;
        END $$;
        ALTER SEQUENCE {{mark}} OWNED BY {{state}}.settled;

        CREATE OR REPLACE FUNCTION {{wake}}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- What others have been told of must not vanish: the commit waits for the disk, and for a synchronous standby.
            IF current_setting('synchronous_commit') IN ('off', 'local') THEN
                PERFORM set_config('synchronous_commit', 'on', true);
            END IF;
            -- An event with an id that has been passed would reach nobody.
            IF pg_sequence_last_value({{'sequence}}::regclass) < pg_sequence_last_value({{'mark}}::regclass) THEN
                RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', {{'sequence}},
                    pg_sequence_last_value({{'sequence}}::regclass), pg_sequence_last_value({{'mark}}::regclass)
                    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                        'it was set back; the pusher sets it right, or you: SELECT setval(%L, (SELECT last_value FROM %s))',
                        {{'sequence}}, {{'mark}});
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
        """#
}
