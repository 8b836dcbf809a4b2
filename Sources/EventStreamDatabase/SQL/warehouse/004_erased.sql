-- Events whose data was erased on purpose. What is archived again stays erased: whoever copies events looks here.

CREATE TABLE {{erased}} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL,
    type varchar(16) NOT NULL,
    ts timestamp NOT NULL,
    erasure uuid NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (erasure, id, type, ts)
);
CREATE INDEX ON {{erased}} (id);
COMMENT ON TABLE {{erased}} IS 'Events whose data was erased on purpose';
COMMENT ON COLUMN {{erased}}.erasure IS 'The same as in the active database';
COMMENT ON COLUMN {{erased}}.by IS 'The role in the active database';

DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'history}}));
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'erased}}, owner);
    END IF;
END $$;
