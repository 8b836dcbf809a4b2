package import EventStream
import LibPQ

/// Which events consumers keep in the active table, as SQL: decided in one place, by whoever discards and whoever looks on.
///
/// A consumer holds what it has not confirmed. One that is no archiver need not hold all of it where a required archive
/// was seen to have events of all types: then one that is further behind than the maximum lag holds the newest events alone, and one whose next event
/// is discarded holds nothing: the archive is read for it.
package struct HoldRule: Sendable {
    /// The consumer, aliased `c`, holds events after this id; NULL if it holds none. Beside the row of the state, aliased `s`.
    package let holdsAfter: String
    /// Whether the consumer `c` is an archiver: archivers hold whatever their lag.
    package let isArchiver: String
    private let tables: StreamTables

    /// Events up to this id may be discarded, as far as consumers go; NULL if none may: nobody is registered, or nobody holds any.
    package var bound: String {
        "(SELECT min(\(holdsAfter)) FROM \(tables.consumers.sql) c CROSS JOIN \(tables.state.sql) s)"
    }

    /// The rule of a discarder.
    ///
    /// - Parameters:
    ///   - required: the archivers whose archives must hold events before these are discarded.
    ///   - maxLag: of consumers that have none of their own; nil for no limit.
    package init(_ tables: StreamTables, required: [ConsumerIdentity], maxLag: MaxLag?) {
        guard !required.isEmpty else {
            // What a consumer has not confirmed is nowhere else.
            self.init(tables, holdsAfter: "c.last_evt_id", isArchiver: HoldRule.isArchiver(tables))
            return
        }
        let names = required.map { quotedLiteral($0.description) }.joined(separator: ", ")
        let (events, microseconds) = maxLag?.columns ?? (nil, nil)
        self.init(
            tables, isRequired: { "\($0).ident IN (\(names))" }, events: events.map { "\($0)::bigint" },
            time: microseconds.map { "\($0) * interval '1 microsecond'" })
    }

    /// The rule of a discarder at work, as far as the tables tell: it has noted how it is set, and what archives it has compared.
    package init(noted tables: StreamTables) {
        self.init(
            tables, isRequired: { "\($0).verified_evt_id > 0" },
            events: "CASE WHEN s.max_lag ~ '^[0-9]+$' THEN s.max_lag::bigint END",
            time: "CASE WHEN s.max_lag !~ '^[0-9]+$' THEN s.max_lag::interval END")
    }

    private init(_ tables: StreamTables, isRequired: (String) -> String, events: String?, time: String?) {
        // Consumers read an archive of all event types, and what an archiver says it wants is not what was compared.
        let isArchived = "EXISTS (SELECT FROM \(tables.consumers.sql) r WHERE \(isRequired("r")) AND r.verified_all)"
        let own = HoldRule.floor(tables, events: "c.max_lag_events", time: "c.max_lag_time")
        let standard = HoldRule.floor(tables, events: events, time: time)
        let isArchiver = "(\(isRequired("c")) OR \(HoldRule.isArchiver(tables)))"
        self.init(
            tables,
            holdsAfter: """
                CASE WHEN \(isArchiver) OR NOT \(isArchived) THEN c.last_evt_id
                    WHEN c.last_evt_id < s.discarded THEN NULL
                    ELSE GREATEST(c.last_evt_id, COALESCE(\(own), \(standard), 0)) END
                """, isArchiver: isArchiver)
    }

    private init(_ tables: StreamTables, holdsAfter: String, isArchiver: String) {
        (self.tables, self.holdsAfter, self.isArchiver) = (tables, holdsAfter, isArchiver)
    }

    private static func isArchiver(_ tables: StreamTables) -> String {
        "(c.verified_evt_id > 0 OR EXISTS (SELECT FROM \(tables.archives.sql) a WHERE a.ident = c.ident))"
    }

    /// What is older than a maximum lag ends at this id: 0 if nothing is, NULL if there is no maximum. Of two maxima the larger counts.
    private static func floor(_ tables: StreamTables, events: String?, time: String?) -> String {
        // Every event up to here is known; what was settled since the last sign of life of a pusher counts with the next one.
        let head = "GREATEST(s.settled, s.discarded)"
        let byEvents = events.map { events in
            // Up to the leap there may be no events for most ids.
            """
            CASE WHEN \(events) IS NULL THEN NULL
                WHEN \(head) - (\(events)) > s.leap THEN \(head) - (\(events)) ELSE 0 END
            """
        }
        let byTime = time.map { time in
            // Whoever sets it by hand may mean more years than a time has.
            """
            CASE WHEN \(time) IS NOT NULL THEN COALESCE((SELECT m.id FROM \(tables.marks.sql) m
                WHERE m.at <= clock_timestamp() - LEAST(\(time), interval '1000 years') ORDER BY m.id DESC LIMIT 1), 0) END
            """
        }
        let floors = [byEvents, byTime].compactMap { $0 }
        return floors.isEmpty ? "NULL::bigint" : "LEAST(\(floors.joined(separator: ", ")))"
    }
}
