/// Which life of a stream a database holds.
///
/// A fail-over to a standby that lagged, or a restore, takes a database back: it may lack events that were delivered, and
/// gives their ids to others. From then on it is another generation of the same stream, and what somebody remembers of an
/// earlier one (how far it has come, which ids it has seen) says nothing about this one.
public struct StreamGeneration: Hashable, Sendable, CustomStringConvertible {
    /// The stream's own name, a UUID: the same for ever, also in copies of the database.
    public let stream: String
    /// A UUID that changes with each generation.
    public let id: String
    /// Ids up to here may have been given in an earlier generation; greater with each that begins, 0 for the first.
    public let start: EventID

    public init(stream: String, id: String, start: EventID) {
        self.stream = stream
        self.id = id
        self.start = start
    }

    /// Whether this is an earlier life of the same stream.
    public func isBefore(_ other: StreamGeneration) -> Bool { stream == other.stream && start < other.start }

    public var description: String { id }
}

/// Where a stream's active table is: what a fail-over or a restore changes.
package struct StreamPlace: Hashable, Sendable, CustomStringConvertible {
    /// `pg_control_system().system_identifier`, or empty where it cannot be asked.
    package var server: String
    /// The WAL's timeline; empty where it cannot be asked.
    package var timeline: String
    /// The object ids of the database and the event table.
    package var database: String
    package var table: String

    package init(server: String, timeline: String, database: String, table: String) {
        self.server = server
        self.timeline = timeline
        self.database = database
        self.table = table
    }

    /// As it is noted in the database: the four with slashes between.
    package var description: String { [server, timeline, database, table].joined(separator: "/") }

    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4 else { return nil }
        self.init(server: parts[0], timeline: parts[1], database: parts[2], table: parts[3])
    }

    /// What is different from an earlier place, in words for people.
    package enum Change: Hashable, Sendable {
        /// The same table goes on on another timeline: a standby took over, or the server was restored to a point in time.
        case timeline(String)
        /// Another server, database or table: a copy, a restore or an upgrade, and only a person knows which.
        case elsewhere(String)
    }

    /// What is different from an earlier place; nil if nothing is. What cannot be asked is not different.
    package func change(from earlier: StreamPlace) -> Change? {
        func differ(_ a: String, _ b: String) -> Bool { a != b && !a.isEmpty && !b.isEmpty }
        if differ(server, earlier.server) {
            return .elsewhere("the server has the system identifier \(server), and the stream was on \(earlier.server)")
        }
        if database != earlier.database {
            return .elsewhere("the database has the object id \(database), and the stream was in \(earlier.database)")
        }
        if table != earlier.table {
            return .elsewhere("the event table has the object id \(table), and the stream was in \(earlier.table)")
        }
        guard differ(timeline, earlier.timeline) else { return nil }
        return .timeline(
            "it is on timeline \(timeline) and was on \(earlier.timeline): failed over, or restored to a point in time")
    }
}

/// Who decides that a database on another timeline is the stream's home.
public enum FailOver: String, Hashable, Sendable, CaseIterable {
    /// The pusher: a new generation begins.
    case automatic
    /// A person.
    case manual
}

/// What a pusher remembers of the stream, to tell over a new connection whether the database went back.
package struct StreamMemory: Sendable {
    /// An event as it was read: its id, and its time to the microsecond.
    package struct Trace: Hashable, Sendable {
        package let id: EventID
        package let time: Int64
        package init(id: EventID, time: Int64) {
            self.id = id
            self.time = time
        }
    }

    package private(set) var generation: StreamGeneration?
    /// The settled id that the database has acknowledged to have stored.
    package private(set) var stored = EventID.none
    /// The events read last, in the order they were read.
    package private(set) var recent: [Trace] = []
    private static let recentLimit = 4096

    package init() {}

    /// A generation has been found or begun; what was known of another one is forgotten.
    package mutating func follow(_ generation: StreamGeneration) {
        guard self.generation != generation else { return }
        self = StreamMemory()
        self.generation = generation
    }

    package mutating func stored(_ settled: EventID) { stored = max(stored, settled) }

    package mutating func read(_ traces: some Collection<Trace>) {
        recent += traces.suffix(StreamMemory.recentLimit)
        // In larger steps than one: each moves the rest.
        if recent.count > 2 * StreamMemory.recentLimit { recent.removeFirst(recent.count - StreamMemory.recentLimit) }
    }
}

/// What a new connection shows of the stream.
package struct StreamSighting: Sendable {
    package var generation: StreamGeneration
    /// Where it is.
    package var place: StreamPlace
    /// Where it was when the generation began; nil if nobody has noted that yet.
    package var noted: StreamPlace?
    /// The settled id stored there.
    package var stored: EventID
    /// Events that are remembered, were not discarded, and are not there, or not the same.
    package var missing: [EventID]

    package init(
        generation: StreamGeneration, place: StreamPlace, noted: StreamPlace?, stored: EventID, missing: [EventID]
    ) {
        self.generation = generation
        self.place = place
        self.noted = noted
        self.stored = stored
        self.missing = missing
    }

    package enum Verdict: Hashable, Sendable {
        /// Everything remembered holds.
        case same
        /// Somebody else has found that the database went back.
        case begun
        /// This is the database of a generation that is over, such as the primary of before a fail-over.
        case over
        /// A new generation must begin: the database went back, or nobody can tell whether it did.
        case wentBack(because: String)
        /// The stream was somewhere else: a person has to say whether this is its home now, or a copy.
        case elsewhere(because: String)
    }

    /// Whether what is remembered still holds here.
    ///
    /// - Parameter failOver: who decides where only the timeline has changed.
    package func verdict(remembering memory: StreamMemory, failOver: FailOver = .automatic) -> Verdict {
        if let known = memory.generation, generation.isBefore(known) { return .over }
        var reasons: [String] = []
        switch noted.flatMap({ place.change(from: $0) }) {
        case .elsewhere(let because): return .elsewhere(because: because)
        case .timeline(let because) where failOver == .manual: return .elsewhere(because: because)
        case .timeline(let because): reasons.append(because)
        case nil: break
        }
        // What an earlier generation held, this one need not.
        if memory.generation == generation {
            if stored < memory.stored { reasons.append("it knows events up to \(stored) only, and \(memory.stored) was stored") }
            if !missing.isEmpty { reasons.append(lacks) }
        }
        guard reasons.isEmpty else { return .wentBack(because: reasons.joined(separator: "; ")) }
        return memory.generation == nil || memory.generation == generation ? .same : .begun
    }

    private var lacks: String {
        let list = missing.prefix(10).map(\.description).joined(separator: ", ")
        return "events that were delivered are not there, or others: \(list)\(missing.count > 10 ? ", …" : "")"
    }
}
