extension Migration {
    /// The warehouse database, in order.
    static let warehouse = [Migration(number: 1, name: "history", template: history)]

    /// An existing history table, as futoin-eventstream made it, is used as it is.
    private static let history = #"""
        CREATE TABLE IF NOT EXISTS {{history}} (
            id bigint NOT NULL PRIMARY KEY,
            type varchar(16) NOT NULL,
            data json NOT NULL,
            ts timestamp NOT NULL
        );
        COMMENT ON TABLE {{history}} IS 'Every event there was; ts is UTC';

        CREATE TABLE {{positions}} (
            ident varchar(64) PRIMARY KEY,
            last_evt_id bigint NOT NULL DEFAULT 0,
            last_time timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE {{positions}} IS 'How far each archiver has come; moved in the transaction that copies the events';
        """#
}
