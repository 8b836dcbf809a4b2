-- A consumer may stand anywhere between the first archived event and the newest one: each has a real position, and what stands below
-- the discarded events is read from the archive.

ALTER TABLE {{consumers}}
    ADD COLUMN max_lag_events bigint CHECK (max_lag_events >= 0),
    ADD COLUMN max_lag_time interval CHECK (max_lag_time >= '0'),
    ADD COLUMN paused boolean NOT NULL DEFAULT false,
    ADD COLUMN verified_all boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {{consumers}}.max_lag_events IS 'How many events the consumer may hold back; NULL with max_lag_time: as the discarder is set';
COMMENT ON COLUMN {{consumers}}.max_lag_time IS 'For how long the consumer may hold events back; NULL with max_lag_events: as the discarder is set';
COMMENT ON COLUMN {{consumers}}.paused IS 'Whether an operator has stopped delivery to the consumer';
COMMENT ON COLUMN {{consumers}}.verified_all IS 'Of an archiver: whether its archive was compared in all event types, so that consumers can read it in place of the table';

ALTER TABLE {{pushers}} ADD COLUMN reads_archive boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {{pushers}}.reads_archive IS 'Whether the pusher has an archive to read discarded events from';

ALTER TABLE {{state}} ADD COLUMN max_lag text;
COMMENT ON COLUMN {{state}}.max_lag IS 'How many of the newest events, or for how long, a consumer may hold events back, as the discarder is set; NULL for no limit';

-- 0 was "wherever the table begins".
UPDATE {{consumers}} SET last_evt_id = discarded FROM {{state}} WHERE last_evt_id = 0 AND discarded > 0;

{{functions/registering.sql}}
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION %s() OWNER TO %I', {{'registering}},
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}})));
END $$;
REVOKE ALL ON FUNCTION {{registering}}() FROM PUBLIC;
DROP TRIGGER registering ON {{consumers}};
CREATE TRIGGER registering BEFORE INSERT ON {{consumers}} FOR EACH ROW EXECUTE FUNCTION {{registering}}();
ALTER TABLE {{consumers}} ENABLE ALWAYS TRIGGER registering;
