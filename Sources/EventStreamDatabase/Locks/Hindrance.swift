package import EventStream
package import LibPQ

/// Something that keeps the stream's processes, writers or consumers waiting, and what to do about it.
package struct Hindrance: Hashable, Sendable, CustomStringConvertible {
    package let what: String
    package let advice: String
    package var description: String { "\(what) (\(advice))" }

    /// What keeps the active database's side waiting, from catalogs alone: locks on its tables, strangers with its advisory locks,
    /// and writers that wait for a synchronous standby.
    package static func load(_ tables: StreamTables, from connection: Connection) async throws -> [Hindrance] {
        let locks = try await TableLock.load(tables.lockScope, from: connection)
        let roles = try await RoleLock.load(tables, from: connection).filter { $0.isStrange || $0.isLate }
        let writers = try await OpenWriter.load(tables, from: connection, olderThan: 5).filter { $0.standbys != nil }
        return locks.map { Hindrance(what: "\($0)", advice: $0.advice) }
            + roles.map { Hindrance(what: "\($0)", advice: $0.advice) }
            + writers.map { Hindrance(what: "\($0)", advice: $0.advice) }
    }

    /// Who keeps others from registering, or could: whoever has the discard lock, the discarder included, or locks tables.
    package static func registering(_ tables: StreamTables, from connection: Connection) async throws -> [Hindrance] {
        let roles = try await RoleLock.load(tables, from: connection).filter { $0.lock == .discard }
        return try await TableLock.load(tables.lockScope, from: connection).map { Hindrance(what: "\($0)", advice: $0.advice) }
            + roles.map { Hindrance(what: "\($0)", advice: $0.advice) }
    }

    /// Who has the discarder's role; nil if nobody has.
    package static func discarder(_ tables: StreamTables, from connection: Connection) async throws -> RoleLock? {
        try await RoleLock.load(tables, from: connection).first { $0.lock == .discarder }
    }

    /// What keeps the warehouse's side waiting.
    package static func load(_ tables: ArchiveTables, from connection: Connection) async throws -> [Hindrance] {
        try await TableLock.load(tables.lockScope, from: connection).map { Hindrance(what: "\($0)", advice: $0.advice) }
    }
}

extension [Hindrance] {
    /// All of them in one line; nil if there are none.
    package var text: String? { isEmpty ? nil : map(\.description).joined(separator: "; ") }
}
