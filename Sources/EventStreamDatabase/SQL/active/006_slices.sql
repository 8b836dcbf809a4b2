-- A consumer that is to be cut into other slices is delivered up to one event in all of its slices.

ALTER TABLE {{consumers}} ADD COLUMN barrier bigint;
COMMENT ON COLUMN {{consumers}}.barrier IS
    'Nothing beyond this event is delivered until the consumer is cut into other slices; NULL for no barrier';
