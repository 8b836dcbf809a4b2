package import EventStream

/// The tables of one archive in its warehouse database.
package struct ArchiveTables: Hashable, Sendable {
    package let history: TableName
    package init(history: TableName) { self.history = history }

    package static let standard = ArchiveTables(history: TableName(schema: nil, name: "evt_history"))
    /// How far each archiver has come, and what it copies.
    package var positions: TableName { history.with(suffix: "_positions") }
    /// Ranges of ids that were compared with the active database: how many events, and their checksum.
    package var sums: TableName { history.with(suffix: "_sums") }
    /// Events that were archived, and that a fail-over or a restore of the active database has lost.
    package var lost: TableName { history.with(suffix: "_lost") }
    /// What was dropped from the history on purpose.
    package var expired: TableName { history.with(suffix: "_expired") }
    /// Events whose data was erased on purpose.
    package var erased: TableName { history.with(suffix: "_erased") }
    /// What belongs to no month that has a partition.
    package var defaultPartition: TableName { history.with(suffix: "_default") }
    /// The function that makes the history's partitions.
    package var partitions: TableName { history.with(suffix: "_partitions") }
    package var migrations: TableName { history.with(suffix: "_migrations") }
}
