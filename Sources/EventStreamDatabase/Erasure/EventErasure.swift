package import EventStream
package import LibPQ

/// Erases the data of events: in the active table, in the archive, and in the memory of the pushers. Id, type and time stay.
///
///     begin ─▶ erase in the table ─▶ erase in the archive ─▶ announce to pushers ─▶ close
///
/// Each step is a transaction that may be repeated. What is recorded first tells whoever comes later what is to be completed.
package struct EventErasure {
    private let store: ErasureStore
    private let info: StreamInfo
    private let active: Connection
    /// Nil where there is no archive.
    private let archive: (history: HistoryStore, erasures: ArchiveErasures, connection: Connection)?

    package init(
        _ active: (info: StreamInfo, connection: Connection), _ archive: (history: HistoryStore, connection: Connection)?
    ) {
        (info, store, self.active) = (active.info, ErasureStore(active.info), active.connection)
        self.archive = archive.map { ($0.history, ArchiveErasures($0.history), $0.connection) }
    }

    /// - Throws: ``StoreError`` if the archive is not that of this stream.
    package func plan(_ ids: [EventID]) async throws -> ErasurePlan {
        try await checkHome()
        // First the table: what is discarded meanwhile is in the archive.
        var found = try await store.found(ids, on: active)
        if let archive { found += try await archive.erasures.found(ids, on: archive.connection) }
        return ErasurePlan(ids, found: found)
    }

    package func begin(_ plan: ErasurePlan, because reason: String) async throws {
        _ = try await store.begin(plan.events.map(\.event), because: reason, on: active)
    }

    /// Erasures that are not complete, in their order: open ones; those that have not reached this archive, which is another one or was
    /// restored; and those that only the archive knows, for the active database was restored.
    package func incomplete() async throws -> [Erasure] {
        try await checkHome()
        var reached: Set<String>?
        if let archive {
            let theirs = try await archive.erasures.list(on: archive.connection)
            let known = Set(try await store.list(on: active).map(\.key))
            for erasure in theirs where !known.contains(erasure.key) { try await store.adopt(erasure, on: active) }
            reached = Set(theirs.map(\.key))
        }
        return try await store.list(on: active).filter { $0.isOpen || !(reached?.contains($0.key) ?? true) }
    }

    /// Erases the data in the databases, and announces that to the pushers.
    ///
    /// - Returns: of how many rows the data is gone now.
    package func eraseInDatabases(_ erasure: Erasure) async throws -> Int {
        var count = try await store.erase(erasure, on: active)
        if let archive { count += try await archive.erasures.erase(erasure, on: archive.connection) }
        try await store.announce(erasure, on: active)
        return count
    }

    /// Waits until the pushers at work have dropped what they had read before, and closes the erasure.
    ///
    /// - Returns: the pushers that have not within this time; the erasure stays open then.
    package func close(_ erasure: Erasure, within timeout: Duration) async throws -> [PusherStatus] {
        let deadline = ContinuousClock.now + timeout
        while true {
            let holders = try await store.holders(erasure, on: active)
            guard !holders.isEmpty else { break }
            guard .now < deadline else { return holders }
            try await Task.sleep(for: .milliseconds(50))
        }
        // What a pusher had read before it dropped that, and has parked since.
        _ = try await store.erase(erasure, on: active)
        try await store.close(erasure, on: active)
        return []
    }

    /// What another archive holds is none of this database's affair.
    private func checkHome() async throws {
        guard let archive else { return }
        _ = try await ArchiveHome(info, archive.history).check(active: active, warehouse: archive.connection)
    }
}
