-- A consumer that is to be cut into other slices is delivered up to one event in all of its slices.

ALTER TABLE {{consumers}} ADD COLUMN barrier bigint, ADD COLUMN barrier_read boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {{consumers}}.barrier IS
    'Nothing beyond this event is delivered until the consumer is cut into other slices; NULL for no barrier';
COMMENT ON COLUMN {{consumers}}.barrier_read IS 'Whether the session began when there was a barrier';
