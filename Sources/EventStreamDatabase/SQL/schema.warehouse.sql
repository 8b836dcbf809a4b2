-- The schema of the warehouse database, of PostgreSQL 15's pg_dump. A test compares it, and writes it anew with
--     EVT_WRITE_SCHEMA=1 etc/test --filter theSchemaIsTheOneInTheFile

CREATE FUNCTION public.evt_history_partitions(first date, last date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
DECLARE
    month date := date_trunc('month', first);
    parent oid := '"public"."evt_history"'::regclass;
    space name;
    parent_name name;
    leaf text;
    made integer := 0;
BEGIN
    -- Not of a table somebody else has partitioned, in a way of his own.
    SELECT nspname, relname INTO space, parent_name
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_partitioned_table p ON partrelid = c.oid
        WHERE c.oid = parent AND partdefid = to_regclass('"public"."evt_history_default"');
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock((1163285590::bigint << 32) | parent::bigint);
    WHILE month <= last LOOP
        leaf := format('%I.%I', space, parent_name || to_char(month, '"_y"YYYY"m"MM'));
        IF to_regclass(leaf) IS NULL THEN
            -- In the order in which VACUUM and ANALYZE take them.
            LOCK TABLE ONLY "public"."evt_history" IN SHARE UPDATE EXCLUSIVE MODE;
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', leaf, '"public"."evt_history"');
            LOCK TABLE "public"."evt_history_default" IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('WITH moved AS (DELETE FROM %s WHERE ts >= %L AND ts < %L RETURNING id, type, data, ts, key, meta) '
                'INSERT INTO %s (id, type, data, ts, key, meta) SELECT id, type, data, ts, key, meta FROM moved',
                '"public"."evt_history_default"', month, month + interval '1 month', leaf);
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', leaf);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                '"public"."evt_history"', leaf, month, month + interval '1 month');
            made := made + 1;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;

CREATE TABLE public.evt_history (
    id bigint NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone NOT NULL,
    key text,
    meta json
)
PARTITION BY RANGE (ts);

COMMENT ON TABLE public.evt_history IS 'Every event there was; ts is UTC';

COMMENT ON COLUMN public.evt_history.key IS 'What the event is about; NULL if it has no key';

COMMENT ON COLUMN public.evt_history.meta IS 'A JSON object that tells how the event came about; NULL for none';

CREATE TABLE public.evt_history_default (
    id bigint NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone NOT NULL,
    key text,
    meta json
);

CREATE TABLE public.evt_history_erased (
    number bigint NOT NULL,
    id bigint NOT NULL,
    type character varying(16) NOT NULL,
    ts timestamp without time zone NOT NULL,
    erasure uuid NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.evt_history_erased IS 'Events whose data was erased on purpose';

COMMENT ON COLUMN public.evt_history_erased.erasure IS 'The same as in the active database';

COMMENT ON COLUMN public.evt_history_erased.by IS 'The role in the active database';

ALTER TABLE public.evt_history_erased ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.evt_history_erased_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.evt_history_expired (
    number bigint NOT NULL,
    month date NOT NULL,
    before timestamp without time zone NOT NULL,
    events bigint NOT NULL,
    first_id bigint,
    last_id bigint,
    by text DEFAULT CURRENT_USER NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    reason text
);

COMMENT ON TABLE public.evt_history_expired IS 'Months whose events were dropped from the history on purpose';

COMMENT ON COLUMN public.evt_history_expired.month IS 'The first day; a partition of another length is named by its first day, too';

COMMENT ON COLUMN public.evt_history_expired.before IS 'What had ended by this time was to go; UTC';

COMMENT ON COLUMN public.evt_history_expired.last_id IS 'The archive is complete after this id at the earliest';

ALTER TABLE public.evt_history_expired ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.evt_history_expired_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.evt_history_lost (
    id bigint NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone NOT NULL,
    ident character varying(64) NOT NULL,
    generation uuid NOT NULL,
    moved timestamp with time zone DEFAULT now() NOT NULL,
    accepted timestamp with time zone,
    acceptance text,
    key text,
    meta json
);

COMMENT ON TABLE public.evt_history_lost IS 'Events that were archived, and are not in the active database since this generation';

COMMENT ON COLUMN public.evt_history_lost.accepted IS 'When a person has accepted that the event is lost; NULL: `evt archive verify` names it';

COMMENT ON COLUMN public.evt_history_lost.acceptance IS 'Why, in the words of that person';

CREATE TABLE public.evt_history_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.evt_history_migrations IS 'Steps of the schema that were applied; the newest is step 5';

CREATE TABLE public.evt_history_positions (
    ident character varying(64) NOT NULL,
    last_evt_id bigint DEFAULT 0 NOT NULL,
    last_time timestamp with time zone DEFAULT now() NOT NULL,
    want text[],
    stream uuid,
    generation uuid,
    generation_start bigint DEFAULT 0 NOT NULL,
    doubtful_after bigint DEFAULT 0 NOT NULL,
    doubtful_id bigint DEFAULT 0 NOT NULL,
    token uuid,
    keep_alive double precision DEFAULT 5 NOT NULL,
    complete_from bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.evt_history_positions IS 'How far each archiver has come; moved in the transaction that copies the events';

COMMENT ON COLUMN public.evt_history_positions.want IS 'The event types this archiver copies; NULL is all';

COMMENT ON COLUMN public.evt_history_positions.generation_start IS 'Greater with each generation: nothing of an earlier one is archived any more';

COMMENT ON COLUMN public.evt_history_positions.doubtful_id IS 'Events after doubtful_after and up to here were archived in an earlier generation';

COMMENT ON COLUMN public.evt_history_positions.token IS 'Written by an archiver when it starts; the active database it archives for knows it';

COMMENT ON COLUMN public.evt_history_positions.keep_alive IS 'How often the archiver at work gives a sign of life, in seconds';

COMMENT ON COLUMN public.evt_history_positions.complete_from IS 'The archive has each event that the archiver wants after this id and up to its position; the first event there is follows 0';

CREATE TABLE public.evt_history_sums (
    ident character varying(64) NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    want text[],
    events bigint NOT NULL,
    checksum numeric NOT NULL,
    compared timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT evt_history_sums_check CHECK ((last_id >= first_id))
);

COMMENT ON TABLE public.evt_history_sums IS 'Ranges of ids in which the archive was equal to the active table before events were discarded there';

ALTER TABLE ONLY public.evt_history ATTACH PARTITION public.evt_history_default DEFAULT;

ALTER TABLE ONLY public.evt_history_default
    ADD CONSTRAINT evt_history_default_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_history_erased
    ADD CONSTRAINT evt_history_erased_erasure_id_type_ts_key UNIQUE (erasure, id, type, ts);

ALTER TABLE ONLY public.evt_history_erased
    ADD CONSTRAINT evt_history_erased_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.evt_history_expired
    ADD CONSTRAINT evt_history_expired_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.evt_history_migrations
    ADD CONSTRAINT evt_history_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.evt_history_positions
    ADD CONSTRAINT evt_history_positions_pkey PRIMARY KEY (ident);

ALTER TABLE ONLY public.evt_history_sums
    ADD CONSTRAINT evt_history_sums_pkey PRIMARY KEY (ident, first_id);

CREATE INDEX evt_history_ts_idx ON ONLY public.evt_history USING brin (ts) WITH (autosummarize='on');

CREATE INDEX evt_history_default_ts_idx ON public.evt_history_default USING brin (ts) WITH (autosummarize='on');

CREATE INDEX evt_history_erased_id_idx ON public.evt_history_erased USING btree (id);

ALTER INDEX public.evt_history_ts_idx ATTACH PARTITION public.evt_history_default_ts_idx;

REVOKE ALL ON FUNCTION public.evt_history_partitions(first date, last date) FROM PUBLIC;
