-- ----------------------------------------------------------------------
-- The inbox: each event counts once in this database, whatever is killed, and whatever database the stream fails over to.
--
-- For the PostgreSQL in which a receiver does its work, of version 10 or newer. The SQL may be run again; that changes no rows.
-- Whoever runs it needs the right to create tables in the schema. A receiver of another role needs SELECT, INSERT, UPDATE and
-- DELETE on both tables.
-- ----------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS {{inbox}} (
    consumer text NOT NULL,
    stream text NOT NULL,
    number integer GENERATED ALWAYS AS IDENTITY,
    generation text NOT NULL,
    start bigint NOT NULL,
    common bigint NOT NULL,
    newest bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    keep interval NOT NULL DEFAULT '7 days' CHECK (keep > '0'),
    PRIMARY KEY (consumer, stream)
);
COMMENT ON TABLE {{inbox}} IS 'How far each consumer of an event stream has processed its events in this database';
COMMENT ON COLUMN {{inbox}}.number IS 'The number of the consumer in the table of events';
COMMENT ON COLUMN {{inbox}}.generation IS 'The newest generation of the stream that events came from';
COMMENT ON COLUMN {{inbox}}.start IS 'Ids up to here may be those of an earlier generation';
COMMENT ON COLUMN {{inbox}}.common IS 'Up to here the generation has the same events as those before it';
COMMENT ON COLUMN {{inbox}}.newest IS 'The newest event of the generation that was processed in order; 0 for none';
COMMENT ON COLUMN {{inbox}}.floor IS 'Events up to here were processed, and are not kept any more';
COMMENT ON COLUMN {{inbox}}.keep IS 'How long processed events are kept: how far a database that fails over may lag behind';

CREATE TABLE IF NOT EXISTS {{inbox_events}} (
    id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    processed timestamptz NOT NULL DEFAULT now(),
    inbox integer NOT NULL,
    parked boolean NOT NULL DEFAULT false,
    doubted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (inbox, id, fingerprint)
);
COMMENT ON TABLE {{inbox_events}} IS 'Events that were processed in this database';
COMMENT ON COLUMN {{inbox_events}}.fingerprint IS 'Tells the event from another one that gets the same id after a fail-over';
COMMENT ON COLUMN {{inbox_events}}.processed IS 'When the transaction began that processed the event: its now()';
COMMENT ON COLUMN {{inbox_events}}.parked IS 'Whether the event was parked, and delivered again: its id may be of an earlier generation';
COMMENT ON COLUMN {{inbox_events}}.doubted IS 'Whether the event was processed in an earlier generation, and has not come again in the present one';

-- ----------------------------------------------------------------------
-- Function: evt_inbox_claim(consumer, origin, ids, fingerprints, parked)
--
--      Says which events of a batch are to be processed in the present transaction, and notes them as processed. The first
--      statement of the transaction that does the work: if the transaction is rolled back, the events are not processed.
--
-- Parameters:
--      consumer     - a name for the receiver's work; of a slice, with the slice in it
--      origin       - what the answer to readyToReceive says: an object with stream, generation, start, after and common
--      ids          - the events of the batch, or those of them up to one that cannot be processed; in their order
--      fingerprints - a number for each of these that depends on everything in the event: the same in each run of the receiver
--      parked       - whether the batch is a parked event that was delivered again
--
-- Returns:
--      the ids of the events that were not processed before, in their order: the others are to be confirmed without work.
--
-- How an event is known:
--      In one generation of the stream, by its id. A generation that begins may lack events that were processed, may bring those
--      again whose confirmation it lacks, and may have given their ids to others. So what was processed, and may come again or be
--      missing, is known by its fingerprint then. A parked event is known by its fingerprint, since its id may be of an earlier generation, and
--      later events have been processed without it.
--
-- Raises:
--      object_not_in_prerequisite_state (55000) if events of a later generation were processed: the batch is to be rejected;
--      what is left of its events comes in the later generation. serialization_failure (40001) in REPEATABLE READ and
--      SERIALIZABLE if another transaction has claimed events meanwhile: try again. invalid_parameter_value (22023) for NULL.
--
-- Locks:
--      the consumer's row, to the end of the transaction: another receiver of the consumer waits, and is then told the truth.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{inbox_claim}}(
    consumer text, origin json, ids bigint[], fingerprints bigint[], parked boolean DEFAULT false
) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    its_stream text := $2 ->> 'stream';
    its_generation text := $2 ->> 'generation';
    its_start bigint := COALESCE(($2 ->> 'start')::bigint, 0);
    its_common bigint := COALESCE(($2 ->> 'common')::bigint, 0);
    its_after bigint := COALESCE(($2 ->> 'after')::bigint, 0);
    mine {{inbox}}%ROWTYPE;
    fresh bigint;
    old bigint;
BEGIN
    IF ($1 IS NOT NULL AND its_stream IS NOT NULL AND its_generation IS NOT NULL AND $5 IS NOT NULL
        AND array_position($3, NULL) IS NULL AND array_position($4, NULL) IS NULL AND cardinality($3) = cardinality($4)) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'evt_inbox_claim was called with NULL, without an origin, or with not as many fingerprints as ids'
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'the origin is the answer to readyToReceive with origin: true; pushers that are too old answer true';
    END IF;
    SELECT * INTO mine FROM {{inbox}} i WHERE i.consumer = $1 AND i.stream = its_stream FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO {{inbox}} (consumer, stream, generation, start, common)
        VALUES ($1, its_stream, its_generation, its_start, its_common) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT mine FROM {{inbox}} i WHERE i.consumer = $1 AND i.stream = its_stream FOR UPDATE;
    END IF;

    IF mine.generation <> its_generation THEN
        IF its_start <= mine.start THEN
            RAISE EXCEPTION 'generation % of the stream is over: % has processed events of the later generation %',
                its_generation, $1, mine.generation
                USING ERRCODE = 'object_not_in_prerequisite_state',
                    HINT = 'Reject the batch. If that generation is the present one, evt generation --renew begins a later one.';
        END IF;
        -- Events after `after` come again, those up to `common` included: a consumer may be behind discarded events.
        UPDATE {{inbox_events}} e SET doubted = true
        WHERE e.inbox = mine.number AND e.id > LEAST(its_common, its_after) AND NOT e.doubted AND NOT e.parked;
        mine.floor := LEAST(mine.floor, its_common);
        UPDATE {{inbox}} i SET generation = its_generation, start = its_start, common = its_common, newest = 0, floor = mine.floor
        WHERE i.consumer = $1 AND i.stream = its_stream;
    END IF;

    -- OFFSET 0: each event is looked up by its key, whatever the statistics are.
    RETURN QUERY
    WITH fresh AS (
        INSERT INTO {{inbox_events}} AS n (inbox, id, fingerprint, parked)
        SELECT mine.number, o.id, o.fingerprint, $5 FROM unnest($3, $4) AS o (id, fingerprint)
        WHERE ($5 OR o.id > mine.floor) AND NOT EXISTS (
            SELECT FROM {{inbox_events}} e WHERE e.inbox = mine.number AND e.id = o.id
                AND (e.fingerprint = o.fingerprint OR NOT ($5 OR e.parked OR e.doubted)) OFFSET 0)
        ON CONFLICT DO NOTHING RETURNING n.id)
    SELECT f.id FROM fresh f ORDER BY f.id;
    GET DIAGNOSTICS fresh = ROW_COUNT;

    IF NOT $5 AND $3[1] <= its_start THEN
        -- They were not lost.
        UPDATE {{inbox_events}} e SET doubted = false WHERE e.inbox = mine.number AND e.id = ANY ($3) AND e.doubted
            AND EXISTS (SELECT FROM unnest($3, $4) AS o (id, fingerprint) WHERE o.id = e.id AND o.fingerprint = e.fingerprint OFFSET 0);
    END IF;

    IF NOT $5 AND fresh > 0 THEN
        -- As much as comes goes. What is doubted stays until events behind it go.
        SELECT max(l.id) INTO old FROM (
            SELECT e.id, e.processed FROM {{inbox_events}} e WHERE e.inbox = mine.number AND NOT e.parked AND NOT e.doubted
            ORDER BY e.id LIMIT 2 * fresh + 10) l WHERE l.processed < now() - mine.keep;
        DELETE FROM {{inbox_events}} e WHERE e.inbox = mine.number AND e.id <= old AND e.processed < now() - mine.keep;
    END IF;
    -- In REPEATABLE READ a transaction that has not seen this one fails by it.
    UPDATE {{inbox}} i SET floor = GREATEST(i.floor, old),
        newest = CASE WHEN $5 THEN i.newest ELSE GREATEST(i.newest, $3[cardinality($3)]) END
    WHERE fresh > 0 AND i.consumer = $1 AND i.stream = its_stream;
END $$;
COMMENT ON FUNCTION {{inbox_claim}}(text, json, bigint[], bigint[], boolean) IS
    'Notes events as processed in the present transaction, and returns those that were not processed before';

-- ----------------------------------------------------------------------
-- Function: evt_inbox_lost(consumer)
--
--      Names the events that were processed here and that the stream lacks since it failed over or was restored. Complete as far
--      as processed events are kept; nothing is named before an event that was recorded afterwards has been processed, since
--      until then the events may still come.
--
-- Returns:
--      the stream, the id, and the now() of the transaction that processed the event.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{inbox_lost}}(consumer text) RETURNS TABLE (stream text, id bigint, processed timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.stream, e.id, e.processed FROM {{inbox}} i JOIN {{inbox_events}} e ON e.inbox = i.number
    WHERE i.consumer = $1 AND e.doubted AND i.newest > i.start ORDER BY i.stream, e.id
$$;
COMMENT ON FUNCTION {{inbox_lost}}(text) IS 'The events that were processed here and that the stream lacks since it failed over';
