-- The tables, functions and triggers of a stream. The tables of a futoin-eventstream database are adopted: rows, positions, the
-- sequence of ids, the owner and grants are kept.

-- ----------------------------------------------------------------------
-- Events
-- ----------------------------------------------------------------------

-- A plain event table is one of futoin-eventstream: it makes room for the ring of segments.
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

-- A ring of segments: a segment whose events are all confirmed is emptied whole, and nothing bloats.
-- Writers use this table. Their lock on it, taken before they draw an id, is what keeps the order sound.
-- Each statement reads the text of a constraint anew, and costs by its length, but keeps the partition key ready. So what no writer
-- gets wrong by accident is in the key: a row with an id or time out of range has no segment, and is refused (23514) like others.
CREATE TABLE {{events}} (
    id bigint NOT NULL DEFAULT nextval({{'sequence}}),
    -- At most 16, by the column's type. A regular expression with {1,16} costs several times as much.
    type varchar(16) NOT NULL CHECK (type ~ '^[A-Z_]+$'),
    data json NOT NULL,
    ts timestamp NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    -- The size of the event, so that readers can bound a page without unpacking the data. At most 8 MiB - 4 KiB.
    bytes integer GENERATED ALWAYS AS (octet_length(data::text)) STORED CHECK (bytes <= 8384512)
) PARTITION BY LIST ((CASE WHEN id < 1 OR id > 999999999999999999 OR ts < '0001-01-01' OR ts >= '10000-01-01' THEN NULL
    ELSE (id >> {{segment_bits}}) & 7 END));
COMMENT ON TABLE {{events}} IS 'Events not yet discarded';

CREATE TABLE {{segment0}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (0);
CREATE TABLE {{segment1}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE TABLE {{segment2}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (2);
CREATE TABLE {{segment3}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (3);
CREATE TABLE {{segment4}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (4);
CREATE TABLE {{segment5}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (5);
CREATE TABLE {{segment6}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (6);
CREATE TABLE {{segment7}} PARTITION OF {{events}} (PRIMARY KEY (id)) FOR VALUES IN (7);

-- ----------------------------------------------------------------------
-- Consumers
-- ----------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS {{consumers}} (
    id bigserial PRIMARY KEY,
    last_evt_id bigint NOT NULL DEFAULT 0,
    reg_time timestamp NOT NULL,
    last_time timestamp NOT NULL,
    ident varchar(64) NOT NULL UNIQUE
);
-- An index on the position would make every move of the position write the index, too.
DROP INDEX IF EXISTS {{consumers_index}};
ALTER TABLE {{consumers}}
    ALTER COLUMN reg_time SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN last_time SET DEFAULT (now() AT TIME ZONE 'UTC'),
    -- The pusher that serves the consumer, and the token that fences all earlier sessions.
    ADD COLUMN IF NOT EXISTS session_owner bigint,
    ADD COLUMN IF NOT EXISTS session_epoch bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS verified_evt_id bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS began_evt_id bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS want text[],
    SET (fillfactor = 50);
COMMENT ON TABLE {{consumers}} IS 'Registered consumers and the last event each has confirmed';
COMMENT ON COLUMN {{consumers}}.verified_evt_id IS 'Of an archiver: up to here its archive was seen to hold the events';
COMMENT ON COLUMN {{consumers}}.began_evt_id IS 'What it had confirmed, or was discarded, when the generation began';
COMMENT ON COLUMN {{consumers}}.want IS 'Event types it asked for when it was last served; NULL is all';

-- An adopted table has a smallint here. Each registration draws a number, also of a consumer that is removed later.
DO $$
DECLARE
    numbers text := pg_get_serial_sequence({{'consumers}}, 'id');
BEGIN
    ALTER TABLE {{consumers}} ALTER COLUMN id TYPE bigint;
    IF numbers IS NOT NULL THEN
        EXECUTE format('ALTER SEQUENCE %s AS bigint', numbers);
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    RAISE EXCEPTION 'the column id of % cannot be widened to bigint: %', {{'consumers}}, SQLERRM
        USING HINT = 'drop the view that uses the column, migrate, and make the view again';
END $$;

-- ----------------------------------------------------------------------
-- What the processes note
-- ----------------------------------------------------------------------

CREATE TABLE {{pushers}} (
    id bigint PRIMARY KEY,
    beat bigint NOT NULL DEFAULT 0,
    started timestamptz NOT NULL DEFAULT now(),
    application text NOT NULL DEFAULT '',
    beat_interval double precision NOT NULL DEFAULT 3,
    looked timestamptz
);
COMMENT ON TABLE {{pushers}} IS 'Pushers at work; one whose beat stands still is dead';
COMMENT ON COLUMN {{pushers}}.beat_interval IS 'How often it gives a sign of life, in seconds';
COMMENT ON COLUMN {{pushers}}.looked IS 'When it began to look for new events, of the looks that had ended at its last sign of life';

CREATE TABLE {{state}} (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    settled bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    refusal text,
    stream uuid NOT NULL DEFAULT gen_random_uuid(),
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    generation_since timestamptz NOT NULL DEFAULT now(),
    generation_reason text,
    leap bigint NOT NULL DEFAULT 0,
    place text
);
COMMENT ON TABLE {{state}} IS 'Up to which id every event is known, and up to which they were discarded';
COMMENT ON COLUMN {{state}}.refusal IS 'Why confirmed events are kept nevertheless; NULL if they are not';
COMMENT ON COLUMN {{state}}.stream IS 'Names this stream for ever, also in copies of the database';
COMMENT ON COLUMN {{state}}.generation IS 'Another one since the database may lack events that were delivered';
COMMENT ON COLUMN {{state}}.leap IS 'Ids up to here may be of an earlier generation; those drawn in this one are beyond';
COMMENT ON COLUMN {{state}}.place IS 'The server, its timeline and the table this generation was begun in';
INSERT INTO {{state}} DEFAULT VALUES;

-- Up to here events have been delivered. A sequence, because writers can look at it without reading a table.
CREATE SEQUENCE {{mark}} AS bigint MAXVALUE 999999999999999999 CACHE 1 OWNED BY {{state}}.settled;
GRANT SELECT ON SEQUENCE {{mark}} TO PUBLIC;

CREATE TABLE {{archives}} (
    ident varchar(64) NOT NULL,
    token uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text,
    PRIMARY KEY (ident, token)
);
COMMENT ON TABLE {{archives}} IS 'What archivers have written beside their position in a warehouse, at each start: a position with another token has been moved for another database';
COMMENT ON COLUMN {{archives}}.reason IS 'Why a person has adopted a position that this database did not know; NULL for those of its own archivers';

CREATE TABLE {{marks}} (
    id bigint PRIMARY KEY,
    since timestamptz NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE {{marks}} IS 'When the stream was settled: up to id between since and at';

-- ----------------------------------------------------------------------
-- Adoption
-- ----------------------------------------------------------------------

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
        -- What is missing before the first event was discarded.
        UPDATE {{state}} SET discarded = LEAST(settled, COALESCE((SELECT min(id) - 1 FROM {{events}}), settled));
        PERFORM setval({{'sequence}}, GREATEST((SELECT last_value FROM {{sequence}}), settled), true)
            FROM {{state}} WHERE settled > 0;
        SELECT pg_get_userbyid(relowner) INTO old_owner FROM pg_class WHERE oid = to_regclass({{'adopted}});
        IF old_owner <> current_user THEN
            FOREACH item IN ARRAY ARRAY[{{'events}}, {{'state}}, {{'pushers}}, {{'archives}}, {{'marks}}, {{'segment0}}, {{'segment1}},
                {{'segment2}}, {{'segment3}}, {{'segment4}}, {{'segment5}}, {{'segment6}}, {{'segment7}}]
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
INSERT INTO {{marks}} SELECT settled, now(), now() FROM {{state}};

-- ----------------------------------------------------------------------
-- Functions and triggers
-- ----------------------------------------------------------------------

{{functions/check_ids.sql}}
{{functions/wake.sql}}
{{functions/registering.sql}}
{{functions/evt_add.sql}}
-- A function of that name that was there before keeps its owner, who could change what it does.
DO $$
DECLARE
    stranger record;
BEGIN
    SELECT p.oid::regprocedure AS name, pg_get_userbyid(p.proowner) AS owner INTO stranger
        FROM pg_proc p WHERE pg_get_userbyid(p.proowner) <> current_user AND p.oid IN (to_regprocedure({{'check_ids}} || '()'),
            to_regprocedure({{'wake}} || '()'), to_regprocedure({{'registering}} || '()'), to_regprocedure({{'add}} || '(text, json)'));
    IF FOUND THEN
        RAISE EXCEPTION 'the function % is already there and belongs to the role %', stranger.name, stranger.owner
            USING HINT = 'drop the function, then migrate again';
    END IF;
END $$;
GRANT EXECUTE ON FUNCTION {{check_ids}}() TO PUBLIC;
REVOKE ALL ON FUNCTION {{add}}(text, json) FROM PUBLIC;
-- These two run with the rights of their owner: no more than those of the table's owner.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'events}}));
BEGIN
    EXECUTE format('ALTER FUNCTION %s() OWNER TO %I', {{'check_ids}}, owner);
    EXECUTE format('ALTER FUNCTION %s(text, json) OWNER TO %I', {{'add}}, owner);
END $$;

CREATE TRIGGER wake AFTER INSERT ON {{events}} FOR EACH STATEMENT EXECUTE FUNCTION {{wake}}();
CREATE TRIGGER registering BEFORE INSERT ON {{consumers}} FOR EACH STATEMENT EXECUTE FUNCTION {{registering}}();
-- Also for who writes with session_replication_role = replica.
ALTER TABLE {{events}} ENABLE ALWAYS TRIGGER wake;
ALTER TABLE {{consumers}} ENABLE ALWAYS TRIGGER registering;
