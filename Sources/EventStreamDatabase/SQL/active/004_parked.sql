-- Events that a consumer could not process, set aside so that the consumer can go on.

CREATE TABLE {{parked}} (
    consumer bigint NOT NULL,
    id bigint NOT NULL,
    generation uuid NOT NULL,
    type text NOT NULL,
    data json NOT NULL,
    ts timestamp NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    parked timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry timestamptz,
    PRIMARY KEY (consumer, generation, id)
);
COMMENT ON TABLE {{parked}} IS 'Events that a consumer could not process';
COMMENT ON COLUMN {{parked}}.consumer IS 'The number of the consumer''s registration';
COMMENT ON COLUMN {{parked}}.generation IS 'The generation of the stream that has the event under this id';
COMMENT ON COLUMN {{parked}}.attempts IS 'How often the event has failed';
COMMENT ON COLUMN {{parked}}.error IS 'What the receiver said last';
COMMENT ON COLUMN {{parked}}.retry IS 'When an operator asked for another attempt; NULL if nobody has';
-- Pushers look for these rows with each heartbeat.
CREATE INDEX ON {{parked}} (consumer, id) WHERE retry IS NOT NULL;

ALTER TABLE {{consumers}}
    ADD COLUMN max_attempts integer CHECK (max_attempts >= 0),
    ADD COLUMN failed_evt_id bigint,
    ADD COLUMN failed_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN failed_alone boolean NOT NULL DEFAULT false,
    ADD COLUMN failed_error text,
    ADD COLUMN takes_parked boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {{consumers}}.max_attempts IS 'How often an event may fail before it is parked; NULL: as the pusher is set; 0: never parked';
COMMENT ON COLUMN {{consumers}}.failed_evt_id IS 'The event that failed last; of no meaning once last_evt_id has reached it';
COMMENT ON COLUMN {{consumers}}.failed_alone IS 'Whether the event itself failed, rather than the group it is the first of';
COMMENT ON COLUMN {{consumers}}.takes_parked IS 'Whether the receiver of the last session takes parked events';

-- The table belongs to the owner of the others.
DO $$
BEGIN
    EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'parked}},
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}})));
END $$;
