-- What was dropped from the history on purpose.

CREATE TABLE {{expired}} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month date NOT NULL,
    before timestamp NOT NULL,
    events bigint NOT NULL,
    first_id bigint,
    last_id bigint,
    by text NOT NULL DEFAULT current_user,
    at timestamptz NOT NULL DEFAULT now(),
    reason text
);
COMMENT ON TABLE {{expired}} IS 'Months whose events were dropped from the history on purpose';
COMMENT ON COLUMN {{expired}}.month IS 'The first day; a partition of another length is named by its first day, too';
COMMENT ON COLUMN {{expired}}.before IS 'What had ended by this time was to go; UTC';
COMMENT ON COLUMN {{expired}}.last_id IS 'The archive is complete after this id at the earliest';
