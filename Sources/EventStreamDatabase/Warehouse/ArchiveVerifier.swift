package import EventStream
package import LibPQ

/// Verifies an archive: against the active table where events are still there, against the recorded sums where they have
/// been discarded.
package struct ArchiveVerifier: Sendable {
    private let info: StreamInfo
    private let history: HistoryStore

    package init(_ info: StreamInfo, _ history: HistoryStore) {
        self.info = info
        self.history = history
    }

    package enum Finding: Hashable, Sendable {
        /// In the active table, not in the archive.
        case missing(EventID)
        /// In both, with another type, data, time, key or meta.
        case changed(EventID)
        /// In the archive, not in the active table.
        case extra(EventID)
        /// A range of discarded events is not what it was.
        case range(ArchiveSums.Record, now: ArchiveAudit.Sum)
        /// Events were compared and discarded, and the warehouse knows nothing of it: it went back, or is another.
        case forgotten(first: EventID, last: EventID)
        /// Events were moved out of the history, and nobody has put them back or accepted that.
        case aside(LostEvents.Open)
        /// The data of an event was to be erased, and that has not reached the archive: the first of an erasure.
        case notErased(number: Int)
        /// Events discarded without having been compared: there is nothing to verify them with.
        case unknown(first: EventID, last: EventID, events: Int)
    }

    package struct Summary: Hashable, Sendable {
        /// Events that are right.
        package var verified = 0
        /// Findings other than ``Finding/unknown``.
        package var wrong = 0
        /// What was archived up to here, past the archiver's position, is of an earlier generation of the stream: what is extra
        /// there is set aside when the next event is archived. Nil if there is no such thing.
        package var doubtful: EventID?
        /// What was dropped from the history on purpose; nil if nothing was.
        package var expired: ExpiredMonths.Total?
        package init(verified: Int = 0, wrong: Int = 0) { (self.verified, self.wrong) = (verified, wrong) }
    }

    /// - Parameter report: called with each finding as it is made.
    /// - Throws: ``StoreError`` if the archiver has never been at work in this warehouse.
    package func verify(
        from first: EventID, through last: EventID, active: Connection, warehouse: Connection, report: (Finding) -> Void
    ) async throws -> Summary {
        // What the archiver has confirmed must be in the archive, wherever that believes to be.
        let confirmed = try await active.query(
            Statement("SELECT last_evt_id, verified_evt_id FROM \(info.tables.consumers.sql) WHERE ident = $1"),
            [.text(history.archiver.description)])
        guard let standing = try await history.standing(on: warehouse) else {
            throw StoreError("\(history.archiver) has never archived into \(history.tables.history)")
        }
        let due = max(standing.position, EventID(confirmed.int(0, 0) ?? 0))
        var summary = Summary()
        if standing.hasDoubtful { summary.doubtful = standing.doubtful }
        func tell(_ finding: Finding) {
            if case .unknown = finding {} else { summary.wrong += 1 }
            report(finding)
        }
        let total = try await ExpiredMonths(history).total(on: warehouse)
        let expired = total?.last ?? .none
        if first <= expired { summary.expired = total }
        let audit = ArchiveAudit(info, history, want: standing.want)
        if first <= EventID(1) {
            let rows = try await warehouse.query(
                Statement("SELECT id FROM \(history.tables.history.sql) WHERE id < 1 ORDER BY id LIMIT 1000"))
            for row in 0..<rows.count { tell(.extra(EventID(rows.int(row, 0) ?? 0))) }
        }
        let aside = try await LostEvents(history).open(
            from: first <= EventID(1) ? EventID(.min) : first, through: last, on: warehouse)
        if let aside { tell(.aside(aside)) }
        let half = try await ErasureStore(info).lacking(ArchiveErasures(history), active: active, warehouse: warehouse)
        for number in Set(half.values).sorted() { tell(.notErased(number: number)) }
        let alive = try await discarded(on: active)
        var done = max(alive, EventID(first.rawValue - 1))
        while done < last {
            let found = try await audit.compare(after: done, through: last, active: active, warehouse: warehouse)
            for block in found.blocks {
                guard !block.isEqual else {
                    summary.verified += block.archived.events
                    continue
                }
                let differences = try await audit.differences(in: block, active: active, warehouse: warehouse)
                // What has been discarded meanwhile is known by its sums, and what is not archived yet is not missing.
                let gone = try await discarded(on: active)
                let missing = differences.missing.filter { $0 > gone && $0 <= due }
                let changed = differences.changed.filter { $0 > gone }
                let extra = differences.extra.filter { $0 > gone }
                summary.verified += block.archived.events - changed.count - differences.extra.count
                let all =
                    missing.map { ($0, Finding.missing($0)) } + changed.map { ($0, .changed($0)) }
                    + extra.map { ($0, .extra($0)) }
                for (_, finding) in all.sorted(by: { $0.0 < $1.0 }) { tell(finding) }
            }
            done = found.through
        }
        let gone = min(last, try await discarded(on: active))
        let forgotten = (
            first: max(first, expired.next, try await ArchiveSums(history).end(on: warehouse).next),
            last: min(gone, EventID(confirmed.int(0, 1) ?? 0))
        )
        if forgotten.first <= forgotten.last { tell(.forgotten(first: forgotten.first, last: forgotten.last)) }
        try await verifySums(from: first, through: gone, expired: expired, warehouse: warehouse, tell) { record in
            if record.last <= alive { summary.verified += record.sum.events }
        }
        return summary
    }

    private func verifySums(
        from first: EventID, through last: EventID, expired: EventID, warehouse: Connection, _ tell: (Finding) -> Void,
        right: (ArchiveSums.Record) -> Void
    ) async throws {
        let sums = ArchiveSums(history)
        let everything = ArchiveAudit(info, history, want: .all)
        var next = first
        func gap(through end: EventID) async throws {
            // The sums of what has expired went along.
            let start = max(next, expired.next)
            guard start <= end else { return }
            let events = try await everything.archived(start, end, on: warehouse).events
            if events > 0 { tell(.unknown(first: start, last: end, events: events)) }
        }
        while next <= last {
            let records = try await sums.records(from: next, through: last, limit: 100, on: warehouse)
            guard !records.isEmpty else { break }
            for record in records {
                try await gap(through: min(last, EventID(record.first.rawValue - 1)))
                let audit = ArchiveAudit(info, history, want: record.want)
                let now = try await audit.archived(record.first, record.last, on: warehouse)
                if now == record.sum {
                    right(record)
                } else if let finding = try await again(record, audit, warehouse: warehouse) {
                    tell(finding)
                } else {
                    right(record)
                }
                next = max(next, record.last.next)
            }
        }
        try await gap(through: last)
    }

    /// Data may have been erased after the sum was read: both are read once more.
    private func again(
        _ record: ArchiveSums.Record, _ audit: ArchiveAudit, warehouse: Connection
    ) async throws -> Finding? {
        let present = try await ArchiveSums(history).records(from: record.first, through: record.first, limit: 1, on: warehouse)
        let now = try await audit.archived(record.first, record.last, on: warehouse)
        return present.first?.sum == now ? nil : .range(record, now: now)
    }

    private func discarded(on active: Connection) async throws -> EventID {
        let rows = try await active.query(Statement("SELECT discarded FROM \(info.tables.state.sql)"))
        try info.checkState(rows)
        return EventID(rows.int(0, 0) ?? 0)
    }
}
