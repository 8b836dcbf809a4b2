-- From where on an archive is complete: consumers read it, and must know what they would miss.

ALTER TABLE {{positions}} ADD COLUMN complete_from bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN {{positions}}.complete_from IS 'The archive has each event that the archiver wants after this id and up to its position; the first event there is follows 0';

-- What archivers of before have left out is not known, where there were several, or one of some event types.
UPDATE {{positions}} SET complete_from = CASE WHEN want IS NULL AND (SELECT count(*) FROM {{positions}}) = 1
    THEN LEAST(last_evt_id, COALESCE((SELECT min(id) - 1 FROM {{history}}), last_evt_id)) ELSE last_evt_id END;
