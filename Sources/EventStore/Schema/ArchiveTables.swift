public import EventStream

/// The tables of one archive in its warehouse database.
public struct ArchiveTables: Hashable, Sendable {
    public let history: TableName
    public init(history: TableName) { self.history = history }

    public static let standard = ArchiveTables(history: TableName(schema: nil, name: "evt_history"))
    /// How far each archiver has come, and what it copies.
    public var positions: TableName { history.with(suffix: "_positions") }
    /// Ranges of ids that were compared with the active database: how many events, and their checksum.
    public var sums: TableName { history.with(suffix: "_sums") }
    /// Events that were archived, and that a fail-over or a restore of the active database has lost.
    public var lost: TableName { history.with(suffix: "_lost") }
    /// The function that makes the history's partitions.
    public var partitions: TableName { history.with(suffix: "_partitions") }
    public var migrations: TableName { history.with(suffix: "_migrations") }
}
