-- Events whose data was erased on purpose.

CREATE TABLE {{erasures}} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    erasure uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    ids bigint[] NOT NULL,
    types text[] NOT NULL,
    times timestamp[] NOT NULL,
    reason text NOT NULL,
    by text NOT NULL DEFAULT current_user,
    at timestamptz NOT NULL DEFAULT now(),
    pass bigint UNIQUE,
    closed timestamptz,
    CHECK (cardinality(types) = cardinality(ids) AND cardinality(times) = cardinality(ids))
);
COMMENT ON TABLE {{erasures}} IS 'Events whose data was erased on purpose; written before anything is erased';
COMMENT ON COLUMN {{erasures}}.erasure IS 'The same in every archive';
COMMENT ON COLUMN {{erasures}}.ids IS 'The events are known by id, type and time together: a later generation may give an id again';
COMMENT ON COLUMN {{erasures}}.pass IS 'Given when the data is gone from the databases: a pusher that has noted this number, or a greater one, has read everything anew since';
COMMENT ON COLUMN {{erasures}}.closed IS 'When the pushers at work had noted the pass; NULL: `evt archive erase --resume` completes the erasure';

ALTER TABLE {{pushers}} ADD COLUMN erased bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN {{pushers}}.erased IS 'The newest pass of erasing after which the pusher has read everything anew';

DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}}));
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'erasures}}, owner);
    END IF;
END $$;
