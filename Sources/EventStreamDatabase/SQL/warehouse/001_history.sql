-- The tables and the function of an archive. A history table of futoin-eventstream that has events, or that views use, stays the
-- table it is; an empty one gives way to one with a partition a month, and its owner and grants are kept.

-- ----------------------------------------------------------------------
-- Events
-- ----------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS {{history}} (
    id bigint NOT NULL PRIMARY KEY,
    type varchar(16) NOT NULL,
    data json NOT NULL,
    ts timestamp NOT NULL
);
COMMENT ON TABLE {{history}} IS 'Every event there was; ts is UTC';

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

-- ----------------------------------------------------------------------
-- What archivers and discarders note
-- ----------------------------------------------------------------------

CREATE TABLE {{positions}} (
    ident varchar(64) PRIMARY KEY,
    last_evt_id bigint NOT NULL DEFAULT 0,
    last_time timestamptz NOT NULL DEFAULT now(),
    want text[],
    stream uuid,
    generation uuid,
    generation_start bigint NOT NULL DEFAULT 0,
    doubtful_after bigint NOT NULL DEFAULT 0,
    doubtful_id bigint NOT NULL DEFAULT 0,
    token uuid,
    keep_alive double precision NOT NULL DEFAULT 5
);
COMMENT ON TABLE {{positions}} IS 'How far each archiver has come; moved in the transaction that copies the events';
COMMENT ON COLUMN {{positions}}.want IS 'The event types this archiver copies; NULL is all';
COMMENT ON COLUMN {{positions}}.generation_start IS 'Greater with each generation: nothing of an earlier one is archived any more';
COMMENT ON COLUMN {{positions}}.doubtful_id IS 'Events after doubtful_after and up to here were archived in an earlier generation';
COMMENT ON COLUMN {{positions}}.token IS 'Written by an archiver when it starts; the active database it archives for knows it';
COMMENT ON COLUMN {{positions}}.keep_alive IS 'How often the archiver at work gives a sign of life, in seconds';

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

CREATE TABLE {{lost}} (
    id bigint NOT NULL,
    type varchar(16) NOT NULL,
    data json NOT NULL,
    ts timestamp NOT NULL,
    ident varchar(64) NOT NULL,
    generation uuid NOT NULL,
    moved timestamptz NOT NULL DEFAULT now(),
    accepted timestamptz,
    acceptance text
);
COMMENT ON TABLE {{lost}} IS 'Events that were archived, and are not in the active database since this generation';
COMMENT ON COLUMN {{lost}}.accepted IS 'When a person has accepted that the event is lost; NULL: `evt archive verify` names it';
COMMENT ON COLUMN {{lost}}.acceptance IS 'Why, in the words of that person';

-- ----------------------------------------------------------------------
-- Partitions of the months to come
-- ----------------------------------------------------------------------

{{functions/partitions.sql}}
REVOKE ALL ON FUNCTION {{partitions}}(date, date) FROM PUBLIC;
-- A function of that name that was there before keeps its owner, who could change what it does.
DO $$
DECLARE
    stranger name := (SELECT pg_get_userbyid(proowner) FROM pg_proc
        WHERE oid = to_regprocedure({{'partitions}} || '(date, date)') AND pg_get_userbyid(proowner) <> current_user);
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'history}}));
BEGIN
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'the function %(date, date) is already there and belongs to the role %', {{'partitions}}, stranger
            USING HINT = 'drop the function, then migrate again';
    END IF;
    IF owner <> current_user THEN
        EXECUTE format('ALTER FUNCTION %s(date, date) OWNER TO %I', {{'partitions}}, owner);
    END IF;
END $$;
SELECT {{partitions}}((now() AT TIME ZONE 'UTC')::date, ((now() AT TIME ZONE 'UTC') + interval '3 months')::date);
