extension Migration {
    /// Which warehouses this database has archived into, so that one that a copy of it has used is told from its own.
    static let archives = #"""
        CREATE TABLE {{archives}} (
            ident varchar(64) NOT NULL,
            token uuid NOT NULL,
            since timestamptz NOT NULL DEFAULT clock_timestamp(),
            reason text,
            PRIMARY KEY (ident, token)
        );
        COMMENT ON TABLE {{archives}} IS 'What archivers have written beside their position in a warehouse, at each start: a position with another token has been moved for another database';
        COMMENT ON COLUMN {{archives}}.reason IS 'Why a person has adopted a position that this database did not know; NULL for those of its own archivers';
        DO $$
        DECLARE
            owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'state}}));
        BEGIN
            IF owner <> current_user THEN
                EXECUTE format('ALTER TABLE %s OWNER TO %I', {{'archives}}, owner);
            END IF;
        END $$;
        """#
}
