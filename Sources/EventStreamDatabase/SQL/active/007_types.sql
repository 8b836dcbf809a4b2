-- A stream may be widened: it takes event types of 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':', '/' and '-' then.

ALTER TABLE {{state}} ADD COLUMN wide_types boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {{state}}.wide_types IS 'Whether the stream takes wide event types';

{{functions/check_type.sql}}
{{functions/record.sql}}
