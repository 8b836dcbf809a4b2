-- The schema of the active database, of PostgreSQL 15's pg_dump. A test compares it, and writes it anew with
--     EVT_WRITE_SCHEMA=1 etc/test --filter theSchemaIsTheOneInTheFile

CREATE FUNCTION public.evt_queue_check_key(key text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
BEGIN
    IF pg_catalog.octet_length($1) OPERATOR(pg_catalog.>) 128 OR $1 OPERATOR(pg_catalog.=) '' THEN
        RAISE EXCEPTION 'invalid event key: % bytes, and the limit is 128 bytes', pg_catalog.octet_length($1)
            USING ERRCODE = 'check_violation', HINT = 'a key is 1 to 128 bytes; an event without a key has NULL';
    END IF;
    RETURN true;
END $_$;

CREATE DOMAIN public.evt_queue_key AS text
	CONSTRAINT evt_queue_key_check CHECK (public.evt_queue_check_key(VALUE));

COMMENT ON DOMAIN public.evt_queue_key IS 'The key of an event: 1 to 128 bytes';

CREATE FUNCTION public.evt_queue_check_meta(meta json) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
BEGIN
    IF pg_catalog.json_typeof($1) OPERATOR(pg_catalog.<>) 'object' THEN
        RAISE EXCEPTION 'invalid event meta: a JSON object is needed, not of the type %', pg_catalog.json_typeof($1)
            USING ERRCODE = 'check_violation',
                HINT = 'meta comes as an argument, as a column, or by the setting eventstream.meta';
    END IF;
    IF pg_catalog.octet_length($1::pg_catalog.text) OPERATOR(pg_catalog.>) 4096 THEN
        RAISE EXCEPTION 'event meta is too large: % bytes, and the limit is 4096 bytes', pg_catalog.octet_length($1::pg_catalog.text)
            USING ERRCODE = 'check_violation', HINT = 'keep what is large in the data';
    END IF;
    RETURN true;
END $_$;

CREATE DOMAIN public.evt_queue_meta AS json
	CONSTRAINT evt_queue_meta_check CHECK (public.evt_queue_check_meta(VALUE));

COMMENT ON DOMAIN public.evt_queue_meta IS 'The meta of an event: a JSON object of at most 4096 bytes';

CREATE FUNCTION public.evt_add(type text, data json, key text DEFAULT NULL::text, meta json DEFAULT NULL::json, idempotency_key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    new_id bigint;
BEGIN
    IF $1 ~ '^[A-Z_]+$' AND length($1) <= 16 AND octet_length($2::text) <= 8384512
        AND $3 IS NULL AND $4 IS NULL AND $5 IS NULL THEN
        INSERT INTO "public"."evt_queue" (type, data) VALUES ($1, $2) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    RETURN "public"."evt_queue_record"($1, $2, $3, $4, $5);
END $_$;

COMMENT ON FUNCTION public.evt_add(type text, data json, key text, meta json, idempotency_key text) IS 'Records an event in the present transaction and returns its id';

CREATE FUNCTION public.evt_add(type text, data jsonb, key text DEFAULT NULL::text, meta json DEFAULT NULL::json, idempotency_key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE sql
    AS $_$
    SELECT "public"."evt_add"($1, $2::pg_catalog.text, $3, $4, $5)
$_$;

COMMENT ON FUNCTION public.evt_add(type text, data jsonb, key text, meta json, idempotency_key text) IS 'Records an event in the present transaction and returns its id';

CREATE FUNCTION public.evt_add(type text, data text, key text DEFAULT NULL::text, meta json DEFAULT NULL::json, idempotency_key text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    new_id bigint;
BEGIN
    IF $1 ~ '^[A-Z_]+$' AND length($1) <= 16 AND octet_length($2) <= 8384512
        AND $3 IS NULL AND $4 IS NULL AND $5 IS NULL THEN
        INSERT INTO "public"."evt_queue" (type, data) VALUES ($1, $2::json) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    RETURN "public"."evt_queue_record"($1, $2::json, $3, $4, $5);
END $_$;

COMMENT ON FUNCTION public.evt_add(type text, data text, key text, meta json, idempotency_key text) IS 'Records an event in the present transaction and returns its id';

CREATE FUNCTION public.evt_consumers_registering() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET row_security TO 'off'
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared((1163285572::bigint << 32) | '"public"."evt_queue"'::regclass::oid::bigint);
    IF COALESCE(NEW.last_evt_id, 0) = 0 AND COALESCE(current_setting('eventstream.position', true), '') <> 'given' THEN
        NEW.last_evt_id := COALESCE((SELECT discarded FROM "public"."evt_queue_state"), 0);
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION public.evt_queue_add_all(types text[], data text[], keys text[], metas text[], idempotency_keys text[]) RETURNS TABLE(id bigint, is_conflict boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $_$
DECLARE
    draft record;
BEGIN
    FOR draft IN SELECT d.type, d.data::json AS data, NULLIF(d.key, '') AS key, NULLIF(d.meta, '')::json AS meta, d.once
        FROM unnest($1, $2, $3, $4, $5) AS d (type, data, key, meta, once)
    LOOP
        IF draft.once = '' THEN
            is_conflict := false;
            INSERT INTO "public"."evt_queue" AS e (type, data, key, meta) VALUES (draft.type, draft.data, draft.key, draft.meta)
                RETURNING e.id INTO id;
        ELSE
            id := "public"."evt_queue_once"(draft.type, draft.data, draft.key, draft.meta, draft.once);
            is_conflict := id IS NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
END $_$;

CREATE FUNCTION public.evt_queue_check_ids() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET row_security TO 'off'
    AS $$
DECLARE
    mine bigint;
    passed bigint;
    present bigint;
BEGIN
    passed := GREATEST(pg_sequence_last_value('"public"."evt_queue_settled"'::regclass), (SELECT GREATEST(settled, discarded) FROM "public"."evt_queue_state"),
        (SELECT max(last_evt_id) FROM "public"."evt_consumers"));
    -- The cheapest check first: until a pusher has been at work, each INSERT comes here.
    IF COALESCE(passed, 0) = 0 THEN
        RETURN;
    END IF;
    BEGIN
        mine := currval('"public"."evt_queue_id_seq"'::regclass);
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN;  -- this session has drawn none
    END;
    IF mine > passed THEN
        RETURN;
    END IF;
    -- It may have been drawn earlier in the session, and what is inserted now have an id given by hand. Drawn now is what
    -- this transaction has inserted: that can be seen, and is in progress. The id of a row's transaction has 32 bits.
    present := pg_current_xact_id()::text::bigint;
    PERFORM FROM "public"."evt_queue" e WHERE e.id = mine AND pg_xact_status((present
        - ((((present & 4294967295) - e.xmin::text::bigint + 2147483648) & 4294967295) - 2147483648))::text::xid8) = 'in progress';
    IF FOUND THEN
        RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', '"public"."evt_queue_id_seq"',
            pg_sequence_last_value('"public"."evt_queue_id_seq"'::regclass), passed
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                'it was set back, or not carried over to this database; the pusher sets it right, or you: SELECT setval(%L, %s)',
                '"public"."evt_queue_id_seq"', passed);
    END IF;
END $$;

CREATE FUNCTION public.evt_queue_check_type(type text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
BEGIN
    IF $1 IS NULL OR $1 !~ '^[A-Z_]{1,16}$' THEN
        RAISE EXCEPTION 'invalid event type: %', COALESCE(quote_literal(left($1, 40)), 'NULL')
            USING ERRCODE = 'check_violation',
                HINT = 'an event type is 1 to 16 of A-Z and _; evt migrate --wide-types lets the stream take longer names';
    END IF;
END $_$;

CREATE FUNCTION public.evt_queue_once(type text, data json, key text, meta json, idempotency_key text) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    -- With the lengths no two events have the same text.
    hash bytea := sha256(convert_to(concat_ws(' ', $1, COALESCE(octet_length($3), 0), COALESCE(octet_length($4::text), 0), $3, $4, $2),
        'UTF8'));
    in_a tid;
    in_b tid;
    new_id bigint;
    first_id bigint;
    first_hash bytea;
BEGIN
    INSERT INTO "public"."evt_queue_keys_a" (idempotency_key, content) VALUES ($5, hash) ON CONFLICT DO NOTHING RETURNING ctid INTO in_a;
    IF in_a IS NULL THEN
        SELECT k.id, k.content INTO first_id, first_hash FROM "public"."evt_queue_keys_a" k WHERE k.idempotency_key = $5;
    ELSE
        INSERT INTO "public"."evt_queue_keys_b" (idempotency_key, content) VALUES ($5, hash) ON CONFLICT DO NOTHING RETURNING ctid INTO in_b;
        IF in_b IS NOT NULL THEN
            INSERT INTO "public"."evt_queue" (type, data, key, meta)
                VALUES ($1, $2, $3, COALESCE($4, NULLIF(current_setting('eventstream.meta', true), '')::json))
                RETURNING id INTO new_id;
            IF new_id IS NULL THEN
                RAISE EXCEPTION 'the event was not recorded: a trigger of the event table has dropped it'
                    USING ERRCODE = 'triggered_action_exception';
            END IF;
            UPDATE "public"."evt_queue_keys_a" SET id = new_id WHERE ctid = in_a;
            UPDATE "public"."evt_queue_keys_b" SET id = new_id WHERE ctid = in_b;
            RETURN new_id;
        END IF;
        SELECT k.id, k.content INTO first_id, first_hash FROM "public"."evt_queue_keys_b" k WHERE k.idempotency_key = $5;
        UPDATE "public"."evt_queue_keys_a" SET id = first_id, content = first_hash WHERE ctid = in_a;
    END IF;
    IF first_id IS NULL THEN
        RAISE EXCEPTION 'the idempotency key % is being used by a call that has not ended', quote_literal(left($5, 40))
            USING ERRCODE = 'triggered_action_exception',
                HINT = 'a trigger of the event table must not record an event with the same idempotency key';
    END IF;
    RETURN CASE WHEN first_hash = hash THEN first_id END;
END $_$;

CREATE FUNCTION public.evt_queue_record(type text, data json, key text, meta json, idempotency_key text) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
DECLARE
    new_id bigint;
BEGIN
    PERFORM "public"."evt_queue_check_type"($1);
    IF $2 IS NULL THEN
        RAISE EXCEPTION 'event data must not be NULL'
            USING ERRCODE = 'not_null_violation', HINT = 'JSON has a null of its own: ''null''';
    END IF;
    IF octet_length($2::text) > 8 * 1024 * 1024 - 4096 THEN
        RAISE EXCEPTION 'event data is too large: % bytes, and the limit is % bytes', octet_length($2::text), 8 * 1024 * 1024 - 4096
            USING ERRCODE = 'check_violation', HINT = 'keep what is large elsewhere, and record where it is';
    END IF;
    IF $5 IS NULL THEN
        INSERT INTO "public"."evt_queue" (type, data, key, meta)
            VALUES ($1, $2, $3, COALESCE($4, NULLIF(current_setting('eventstream.meta', true), '')::json)) RETURNING id INTO new_id;
        RETURN new_id;
    END IF;
    IF octet_length($5) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'invalid idempotency key: % bytes, and the limit is 200 bytes', octet_length($5)
            USING ERRCODE = 'check_violation', HINT = 'an idempotency key is 1 to 200 bytes; a call without one has NULL';
    END IF;
    new_id := "public"."evt_queue_once"($1, $2, $3, $4, $5);
    IF new_id IS NULL THEN
        RAISE EXCEPTION 'the idempotency key % was used for another event', quote_literal(left($5, 40))
            USING ERRCODE = 'EVT02',
                HINT = 'a repeat has the same type, data, key and meta; another event needs another idempotency key';
    END IF;
    RETURN new_id;
END $_$;

CREATE FUNCTION public.evt_queue_rotate(keep interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '10ms'
    AS $$
DECLARE
    first_is_next boolean;
BEGIN
    IF keep IS NULL OR keep < '0' THEN
        RAISE EXCEPTION 'invalid time to keep idempotency keys: %', keep USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A dump without rows lacks it.
    INSERT INTO "public"."evt_queue_rotation" DEFAULT VALUES ON CONFLICT DO NOTHING;
    -- One at a time: who has waited looks again.
    SELECT a_emptied <= b_emptied INTO first_is_next FROM "public"."evt_queue_rotation"
        WHERE GREATEST(a_emptied, b_emptied) <= clock_timestamp() - keep FOR UPDATE;
    -- Noted after the lock was had: later than anything the table has lost.
    IF first_is_next THEN
        TRUNCATE "public"."evt_queue_keys_a";
        UPDATE "public"."evt_queue_rotation" SET a_emptied = clock_timestamp();
    ELSIF NOT first_is_next THEN
        TRUNCATE "public"."evt_queue_keys_b";
        UPDATE "public"."evt_queue_rotation" SET b_emptied = clock_timestamp();
    END IF;
    RETURN first_is_next IS NOT NULL;
END $$;

CREATE FUNCTION public.evt_queue_wake() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    drawn bigint;
    delivered bigint;
BEGIN
    IF pg_try_advisory_xact_lock_shared((1163285587::bigint << 32) | TG_RELID::bigint)
        AND current_setting('synchronous_commit') = 'on'
        AND pg_sequence_last_value('"public"."evt_queue_id_seq"'::regclass) > pg_sequence_last_value('"public"."evt_queue_settled"'::regclass) THEN
        RETURN NULL;
    -- The same while the reader sleeps and has the latch. What notifies is the last condition, and none before it is ever NULL: that
    -- would not end the AND.
    ELSIF current_setting('synchronous_commit') = 'on'
        AND (pg_sequence_last_value('"public"."evt_queue_id_seq"'::regclass) > pg_sequence_last_value('"public"."evt_queue_settled"'::regclass)) IS TRUE
        AND NOT pg_try_advisory_xact_lock_shared((1163285587::bigint << 32) | TG_RELID::bigint)
        AND (current_setting('max_prepared_transactions') = '0' OR COALESCE(current_setting('eventstream.notify', true), '') = 'on')
        AND pg_notify('evt_' || TG_RELID, '')::text IS NOT NULL THEN
        RETURN NULL;
    END IF;
    -- What others have been told of must not vanish: the commit waits for the disk, and for a synchronous standby.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- An event with an id that has been passed would reach nobody.
    drawn := pg_sequence_last_value('"public"."evt_queue_id_seq"'::regclass);
    delivered := pg_sequence_last_value('"public"."evt_queue_settled"'::regclass);
    IF drawn < delivered THEN
        RAISE EXCEPTION 'the sequence % stands at %, but events up to % have been delivered', '"public"."evt_queue_id_seq"', drawn, delivered
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format(
                'it was set back; the pusher sets it right, or you: SELECT setval(%L, (SELECT last_value FROM %s))',
                '"public"."evt_queue_id_seq"', '"public"."evt_queue_settled"');
    ELSIF drawn = delivered OR drawn IS NOT NULL AND delivered IS NULL THEN
        PERFORM "public"."evt_queue_check_ids"();
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

CREATE TABLE public.evt_consumers (
    id bigint NOT NULL,
    last_evt_id bigint DEFAULT 0 NOT NULL,
    reg_time timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text) NOT NULL,
    last_time timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text) NOT NULL,
    ident character varying(64) NOT NULL,
    session_owner bigint,
    session_epoch bigint DEFAULT 0 NOT NULL,
    verified_evt_id bigint DEFAULT 0 NOT NULL,
    began_evt_id bigint DEFAULT 0 NOT NULL,
    want text[],
    max_lag_events bigint,
    max_lag_time interval,
    paused boolean DEFAULT false NOT NULL,
    verified_all boolean DEFAULT false NOT NULL,
    max_attempts integer,
    failed_evt_id bigint,
    failed_attempts integer DEFAULT 0 NOT NULL,
    failed_alone boolean DEFAULT false NOT NULL,
    failed_error text,
    takes_parked boolean DEFAULT false NOT NULL,
    barrier bigint,
    CONSTRAINT evt_consumers_max_attempts_check CHECK ((max_attempts >= 0)),
    CONSTRAINT evt_consumers_max_lag_events_check CHECK ((max_lag_events >= 0)),
    CONSTRAINT evt_consumers_max_lag_time_check CHECK ((max_lag_time >= '00:00:00'::interval))
)
WITH (fillfactor='50');

COMMENT ON TABLE public.evt_consumers IS 'Registered consumers and the last event each has confirmed';

COMMENT ON COLUMN public.evt_consumers.verified_evt_id IS 'Of an archiver: up to here its archive was seen to hold the events';

COMMENT ON COLUMN public.evt_consumers.began_evt_id IS 'What it had confirmed, or was discarded, when the generation began';

COMMENT ON COLUMN public.evt_consumers.want IS 'Event types it asked for when it was last served; NULL is all';

COMMENT ON COLUMN public.evt_consumers.max_lag_events IS 'How many events the consumer may hold back; NULL with max_lag_time: as the discarder is set';

COMMENT ON COLUMN public.evt_consumers.max_lag_time IS 'For how long the consumer may hold events back; NULL with max_lag_events: as the discarder is set';

COMMENT ON COLUMN public.evt_consumers.paused IS 'Whether an operator has stopped delivery to the consumer';

COMMENT ON COLUMN public.evt_consumers.verified_all IS 'Of an archiver: whether its archive was compared in all event types, so that consumers can read it in place of the table';

COMMENT ON COLUMN public.evt_consumers.max_attempts IS 'How often an event may fail before it is parked; NULL: as the pusher is set; 0: never parked';

COMMENT ON COLUMN public.evt_consumers.failed_evt_id IS 'The event that failed last; of no meaning once last_evt_id has reached it';

COMMENT ON COLUMN public.evt_consumers.failed_alone IS 'Whether the event itself failed, rather than the group it is the first of';

COMMENT ON COLUMN public.evt_consumers.takes_parked IS 'Whether the receiver of the last session takes parked events';

COMMENT ON COLUMN public.evt_consumers.barrier IS 'Nothing beyond this event is delivered until the consumer is cut into other slices; NULL for no barrier';

CREATE SEQUENCE public.evt_consumers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.evt_consumers_id_seq OWNED BY public.evt_consumers.id;

CREATE TABLE public.evt_parked (
    consumer bigint NOT NULL,
    id bigint NOT NULL,
    generation uuid NOT NULL,
    type text NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    parked timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retry timestamp with time zone,
    key text,
    meta json
);

COMMENT ON TABLE public.evt_parked IS 'Events that a consumer could not process';

COMMENT ON COLUMN public.evt_parked.consumer IS 'The number of the consumer''s registration';

COMMENT ON COLUMN public.evt_parked.generation IS 'The generation of the stream that has the event under this id';

COMMENT ON COLUMN public.evt_parked.attempts IS 'How often the event has failed';

COMMENT ON COLUMN public.evt_parked.error IS 'What the receiver said last';

COMMENT ON COLUMN public.evt_parked.retry IS 'When an operator asked for another attempt; NULL if nobody has';

CREATE TABLE public.evt_queue (
    id bigint NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
)
PARTITION BY LIST ((
CASE
    WHEN ((id < 1) OR (id > '999999999999999999'::bigint) OR (ts < '0001-01-01 00:00:00'::timestamp without time zone) OR (ts >= '10000-01-01 00:00:00'::timestamp without time zone)) THEN NULL::bigint
    ELSE ((id >> 17) & (7)::bigint)
END));

COMMENT ON TABLE public.evt_queue IS 'Events not yet discarded';

COMMENT ON COLUMN public.evt_queue.key IS 'What the event is about; NULL if it has no key';

COMMENT ON COLUMN public.evt_queue.meta IS 'A JSON object that tells how the event came about; NULL for none';

CREATE SEQUENCE public.evt_queue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 999999999999999999
    CACHE 1;

ALTER SEQUENCE public.evt_queue_id_seq OWNED BY public.evt_queue.id;

CREATE TABLE public.evt_queue_0 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_1 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_2 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_3 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_4 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_5 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_6 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_7 (
    id bigint DEFAULT nextval('public.evt_queue_id_seq'::regclass) NOT NULL,
    type character varying(16) NOT NULL,
    data json NOT NULL,
    ts timestamp without time zone DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'::text) NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length((data)::text)) STORED,
    key public.evt_queue_key,
    meta public.evt_queue_meta DEFAULT (NULLIF(current_setting('eventstream.meta'::text, true), ''::text))::json,
    CONSTRAINT evt_queue_bytes_check CHECK ((bytes <= 8384512)),
    CONSTRAINT evt_queue_type_check CHECK (((type)::text ~ '^[A-Z_]+$'::text))
);

CREATE TABLE public.evt_queue_archives (
    ident character varying(64) NOT NULL,
    token uuid NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    reason text
);

COMMENT ON TABLE public.evt_queue_archives IS 'What archivers have written beside their position in a warehouse, at each start: a position with another token has been moved for another database';

COMMENT ON COLUMN public.evt_queue_archives.reason IS 'Why a person has adopted a position that this database did not know; NULL for those of its own archivers';

CREATE TABLE public.evt_queue_erasures (
    number bigint NOT NULL,
    erasure uuid DEFAULT gen_random_uuid() NOT NULL,
    ids bigint[] NOT NULL,
    types text[] NOT NULL,
    times timestamp without time zone[] NOT NULL,
    reason text NOT NULL,
    by text DEFAULT CURRENT_USER NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    pass bigint,
    closed timestamp with time zone,
    CONSTRAINT evt_queue_erasures_check CHECK (((cardinality(types) = cardinality(ids)) AND (cardinality(times) = cardinality(ids))))
);

COMMENT ON TABLE public.evt_queue_erasures IS 'Events whose data was erased on purpose; written before anything is erased';

COMMENT ON COLUMN public.evt_queue_erasures.erasure IS 'The same in every archive';

COMMENT ON COLUMN public.evt_queue_erasures.ids IS 'The events are known by id, type and time together: a later generation may give an id again';

COMMENT ON COLUMN public.evt_queue_erasures.pass IS 'Given when the data is gone from the databases: a pusher that has noted this number, or a greater one, has read everything anew since';

COMMENT ON COLUMN public.evt_queue_erasures.closed IS 'When the pushers at work had noted the pass; NULL: `evt archive erase --resume` completes the erasure';

ALTER TABLE public.evt_queue_erasures ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.evt_queue_erasures_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.evt_queue_keys_a (
    idempotency_key text NOT NULL,
    id bigint,
    content bytea NOT NULL,
    CONSTRAINT evt_queue_keys_a_idempotency_key_check CHECK (((octet_length(idempotency_key) >= 1) AND (octet_length(idempotency_key) <= 200)))
)
WITH (fillfactor='80');

COMMENT ON TABLE public.evt_queue_keys_a IS 'Idempotency keys and the events they were used for; each is in this table or in the other one, until its time has passed';

COMMENT ON COLUMN public.evt_queue_keys_a.content IS 'A hash of type, data, key and meta';

CREATE TABLE public.evt_queue_keys_b (
    idempotency_key text NOT NULL,
    id bigint,
    content bytea NOT NULL,
    CONSTRAINT evt_queue_keys_b_idempotency_key_check CHECK (((octet_length(idempotency_key) >= 1) AND (octet_length(idempotency_key) <= 200)))
)
WITH (fillfactor='80');

COMMENT ON TABLE public.evt_queue_keys_b IS 'Idempotency keys and the events they were used for; each is in this table or in the other one, until its time has passed';

COMMENT ON COLUMN public.evt_queue_keys_b.content IS 'A hash of type, data, key and meta';

CREATE TABLE public.evt_queue_marks (
    id bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.evt_queue_marks IS 'When the stream was settled: up to id between since and at';

CREATE TABLE public.evt_queue_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.evt_queue_migrations IS 'Steps of the schema that were applied; the newest is step 7';

CREATE TABLE public.evt_queue_pushers (
    id bigint NOT NULL,
    beat bigint DEFAULT 0 NOT NULL,
    started timestamp with time zone DEFAULT now() NOT NULL,
    application text DEFAULT ''::text NOT NULL,
    beat_interval double precision DEFAULT 3 NOT NULL,
    looked timestamp with time zone,
    reads_archive boolean DEFAULT false NOT NULL,
    erased bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.evt_queue_pushers IS 'Pushers at work; one whose beat stands still is dead';

COMMENT ON COLUMN public.evt_queue_pushers.beat_interval IS 'How often it gives a sign of life, in seconds';

COMMENT ON COLUMN public.evt_queue_pushers.looked IS 'When it began to look for new events, of the looks that had ended at its last sign of life';

COMMENT ON COLUMN public.evt_queue_pushers.reads_archive IS 'Whether the pusher has an archive to read discarded events from';

COMMENT ON COLUMN public.evt_queue_pushers.erased IS 'The newest pass of erasing after which the pusher has read everything anew';

CREATE TABLE public.evt_queue_rotation (
    only_row boolean DEFAULT true NOT NULL,
    a_emptied timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    b_emptied timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT evt_queue_rotation_only_row_check CHECK (only_row)
);

COMMENT ON TABLE public.evt_queue_rotation IS 'When the two tables of idempotency keys were emptied';

CREATE TABLE public.evt_queue_state (
    only_row boolean DEFAULT true NOT NULL,
    settled bigint DEFAULT 0 NOT NULL,
    discarded bigint DEFAULT 0 NOT NULL,
    refusal text,
    stream uuid DEFAULT gen_random_uuid() NOT NULL,
    generation uuid DEFAULT gen_random_uuid() NOT NULL,
    generation_since timestamp with time zone DEFAULT now() NOT NULL,
    generation_reason text,
    leap bigint DEFAULT 0 NOT NULL,
    place text,
    max_lag text,
    wide_types boolean DEFAULT false NOT NULL,
    CONSTRAINT evt_queue_state_only_row_check CHECK (only_row)
);

COMMENT ON TABLE public.evt_queue_state IS 'Up to which id every event is known, and up to which they were discarded';

COMMENT ON COLUMN public.evt_queue_state.refusal IS 'Why confirmed events are kept nevertheless; NULL if they are not';

COMMENT ON COLUMN public.evt_queue_state.stream IS 'Names this stream for ever, also in copies of the database';

COMMENT ON COLUMN public.evt_queue_state.generation IS 'Another one since the database may lack events that were delivered';

COMMENT ON COLUMN public.evt_queue_state.leap IS 'Ids up to here may be of an earlier generation; those drawn in this one are beyond';

COMMENT ON COLUMN public.evt_queue_state.place IS 'The server, its timeline and the table this generation was begun in';

COMMENT ON COLUMN public.evt_queue_state.max_lag IS 'How many of the newest events, or for how long, a consumer may hold events back, as the discarder is set; NULL for no limit';

COMMENT ON COLUMN public.evt_queue_state.wide_types IS 'Whether the stream takes wide event types';

CREATE SEQUENCE public.evt_queue_settled
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 999999999999999999
    CACHE 1;

ALTER SEQUENCE public.evt_queue_settled OWNED BY public.evt_queue_state.settled;

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_0 FOR VALUES IN ('0');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_1 FOR VALUES IN ('1');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_2 FOR VALUES IN ('2');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_3 FOR VALUES IN ('3');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_4 FOR VALUES IN ('4');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_5 FOR VALUES IN ('5');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_6 FOR VALUES IN ('6');

ALTER TABLE ONLY public.evt_queue ATTACH PARTITION public.evt_queue_7 FOR VALUES IN ('7');

ALTER TABLE ONLY public.evt_consumers ALTER COLUMN id SET DEFAULT nextval('public.evt_consumers_id_seq'::regclass);

ALTER TABLE ONLY public.evt_queue ALTER COLUMN id SET DEFAULT nextval('public.evt_queue_id_seq'::regclass);

ALTER TABLE ONLY public.evt_consumers
    ADD CONSTRAINT evt_consumers_ident_key UNIQUE (ident);

ALTER TABLE ONLY public.evt_consumers
    ADD CONSTRAINT evt_consumers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_parked
    ADD CONSTRAINT evt_parked_pkey PRIMARY KEY (consumer, generation, id);

ALTER TABLE ONLY public.evt_queue_0
    ADD CONSTRAINT evt_queue_0_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_1
    ADD CONSTRAINT evt_queue_1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_2
    ADD CONSTRAINT evt_queue_2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_3
    ADD CONSTRAINT evt_queue_3_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_4
    ADD CONSTRAINT evt_queue_4_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_5
    ADD CONSTRAINT evt_queue_5_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_6
    ADD CONSTRAINT evt_queue_6_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_7
    ADD CONSTRAINT evt_queue_7_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_archives
    ADD CONSTRAINT evt_queue_archives_pkey PRIMARY KEY (ident, token);

ALTER TABLE ONLY public.evt_queue_erasures
    ADD CONSTRAINT evt_queue_erasures_erasure_key UNIQUE (erasure);

ALTER TABLE ONLY public.evt_queue_erasures
    ADD CONSTRAINT evt_queue_erasures_pass_key UNIQUE (pass);

ALTER TABLE ONLY public.evt_queue_erasures
    ADD CONSTRAINT evt_queue_erasures_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.evt_queue_keys_a
    ADD CONSTRAINT evt_queue_keys_a_pkey PRIMARY KEY (idempotency_key);

ALTER TABLE ONLY public.evt_queue_keys_b
    ADD CONSTRAINT evt_queue_keys_b_pkey PRIMARY KEY (idempotency_key);

ALTER TABLE ONLY public.evt_queue_marks
    ADD CONSTRAINT evt_queue_marks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_migrations
    ADD CONSTRAINT evt_queue_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.evt_queue_pushers
    ADD CONSTRAINT evt_queue_pushers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.evt_queue_rotation
    ADD CONSTRAINT evt_queue_rotation_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.evt_queue_state
    ADD CONSTRAINT evt_queue_state_pkey PRIMARY KEY (only_row);

CREATE INDEX evt_parked_consumer_id_idx ON public.evt_parked USING btree (consumer, id) WHERE (retry IS NOT NULL);

CREATE TRIGGER registering BEFORE INSERT ON public.evt_consumers FOR EACH ROW EXECUTE FUNCTION public.evt_consumers_registering();

ALTER TABLE public.evt_consumers ENABLE ALWAYS TRIGGER registering;

CREATE TRIGGER wake AFTER INSERT ON public.evt_queue FOR EACH STATEMENT EXECUTE FUNCTION public.evt_queue_wake();

ALTER TABLE public.evt_queue ENABLE ALWAYS TRIGGER wake;

REVOKE ALL ON FUNCTION public.evt_add(type text, data json, key text, meta json, idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_add(type text, data jsonb, key text, meta json, idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_add(type text, data text, key text, meta json, idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_consumers_registering() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_queue_add_all(types text[], data text[], keys text[], metas text[], idempotency_keys text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_queue_once(type text, data json, key text, meta json, idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_queue_record(type text, data json, key text, meta json, idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.evt_queue_rotate(keep interval) FROM PUBLIC;

GRANT SELECT ON SEQUENCE public.evt_queue_settled TO PUBLIC;
