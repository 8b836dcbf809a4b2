extension Migration {
    /// Consumers without an end of numbers; and when events could be delivered, which their own times do not tell.
    static let positions = #"""
        DO $$
        DECLARE
            numbers text := pg_get_serial_sequence({{'consumers}}, 'id');
        BEGIN
            -- Each registration draws one, also of a consumer that is removed later.
            ALTER TABLE {{consumers}} ALTER COLUMN id TYPE bigint;
            IF numbers IS NOT NULL THEN
                EXECUTE format('ALTER SEQUENCE %s AS bigint', numbers);
            END IF;
        EXCEPTION WHEN feature_not_supported THEN
            RAISE EXCEPTION 'the column id of % cannot be widened to bigint: %', {{'consumers}}, SQLERRM
                USING HINT = 'drop the view that uses the column, migrate, and make the view again';
        END $$;

        ALTER TABLE {{pushers}} ADD COLUMN looked timestamptz;
        COMMENT ON COLUMN {{pushers}}.looked IS 'When it began to look for new events, of the looks that had ended at its last sign of life';

        CREATE TABLE {{marks}} (
            id bigint PRIMARY KEY,
            since timestamptz NOT NULL,
            at timestamptz NOT NULL
        );
        COMMENT ON TABLE {{marks}} IS 'When the stream was settled: up to id between since and at';
        INSERT INTO {{marks}} SELECT settled, now(), now() FROM {{state}};
        DO $$
        DECLARE
            owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}}));
        BEGIN
            IF owner <> current_user THEN
                EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'marks}}, owner);
            END IF;
        END $$;
        """#
}
