package import EventStream
package import LibPQ

/// What an archive holds of a stream, by what its archivers have noted.
package struct ArchiveExtent: Hashable, Sendable {
    /// What one archiver has copied: every event it wants after `completeFrom`, up to and including `position`.
    package struct Part: Hashable, Sendable {
        package let want: EventFilter
        package let completeFrom: EventID
        package let position: EventID
        /// Of which life of the stream; nil if it has archived nothing yet.
        package let generation: StreamGeneration?

        package init(want: EventFilter, completeFrom: EventID, position: EventID, generation: StreamGeneration?) {
            (self.want, self.completeFrom, self.position, self.generation) = (want, completeFrom, position, generation)
        }
    }

    /// How far the archive can be read.
    package enum Reach: Hashable, Sendable {
        /// Complete up to and including this event.
        case through(EventID)
        /// What is asked for was never archived, or is gone on purpose: the archive begins after this event.
        case missing(first: EventID)
        /// Nobody archives what is asked for; the text says why.
        case never(String)
        /// Not now; the text says why.
        case waiting(String)

        /// What holds of both, where the archive was looked at twice.
        package func and(_ other: Reach) -> Reach {
            switch (self, other) {
            case (.through(let a), .through(let b)): .through(min(a, b))
            case (.through, _): other
            default: self
            }
        }
    }

    package let parts: [Part]

    package init(_ parts: [Part]) { self.parts = parts }

    /// How far events after an id can be read.
    ///
    /// What an archiver of some types has left out it does not tell: only one of all types has a position that says what is there.
    package func reach(after id: EventID, of generation: StreamGeneration) -> Reach {
        let known = parts.filter { $0.generation != nil }
        let ours = known.filter { $0.generation?.stream == generation.stream }
        guard !ours.isEmpty else {
            return known.isEmpty ? .waiting("the archive has nothing yet") : .never("the archive holds another stream")
        }
        let mine = ours.filter { $0.want == .all }
        guard !mine.isEmpty else { return .never("the archive has only some event types (EVT_ARCHIVER_WANT)") }
        let present = mine.filter { $0.generation == generation }
        guard !present.isEmpty else { return .waiting("the archiver has not begun the present generation of the stream") }
        let complete = present.filter { $0.completeFrom <= id }
        guard let position = complete.map(\.position).max() else {
            return .missing(first: present.map(\.completeFrom).min() ?? id)
        }
        return position > id ? .through(position) : .waiting("the archiver has come to \(position)")
    }

    // MARK: Reading it

    package static func statement(_ tables: ArchiveTables) -> Statement {
        Statement(
            """
            SELECT array_to_string(want, ','), complete_from, last_evt_id, stream, generation, generation_start
            FROM \(tables.positions.sql)
            """, name: "evt_extent")
    }

    /// - Parameter rows: of ``statement(_:)``.
    package init(_ rows: Rows) {
        parts = (0..<rows.count).compactMap { row in
            guard let want = EventFilter(list: rows.string(row, 0)) else { return nil }
            var generation: StreamGeneration?
            if let stream = rows.string(row, 3), let id = rows.string(row, 4) {
                generation = StreamGeneration(stream: stream, id: id, start: EventID(rows.int(row, 5) ?? 0))
            }
            return Part(
                want: want, completeFrom: EventID(rows.int(row, 1) ?? 0), position: EventID(rows.int(row, 2) ?? 0),
                generation: generation)
        }
    }
}
