-- Key and meta of the events, as the active database has them. Events that were archived before have none.

ALTER TABLE {{history}} ADD COLUMN key text, ADD COLUMN meta json;
COMMENT ON COLUMN {{history}}.key IS 'What the event is about; NULL if it has no key';
COMMENT ON COLUMN {{history}}.meta IS 'A JSON object that tells how the event came about; NULL for none';
ALTER TABLE {{lost}} ADD COLUMN key text, ADD COLUMN meta json;

{{functions/partitions_keyed.sql}}
