/// One of the processes.
///
/// A new role has a target of its own with a ``RoleConfiguration`` and a ``RoleEngine``, a command of 17 lines, a ``Program``
/// among the readers of settings (``Settings``, ``Metric`` name what is its own), and a place in `EventStreamApp`, `Exports.swift`,
/// `evt serve`, `Package.swift`, `Procfile` and `etc`. Ports for metrics follow the order of the cases: a new role is the last.
public enum Role: String, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    case generator, pusher, archiver, discarder, relay

    /// Those of every pipeline; of relays there may be none, or several.
    package static let pipeline = [Role.generator, .pusher, .archiver, .discarder]
    public var description: String { rawValue }

    /// What the process is for, in one sentence.
    package var purpose: String {
        switch self {
        case .generator: "Records events for clients that have no database transaction of their own."
        case .pusher: "Pushes every committed event, in order, to every registered consumer."
        case .archiver: "Copies the stream into a warehouse database, each event exactly once."
        case .discarder: "Removes events that every registered consumer has confirmed."
        case .relay: "Sends every event to an HTTP endpoint (a webhook), and confirms what the endpoint has taken."
        }
    }

    /// What the process can be set to, beside what every program can.
    package var settings: [SettingFacts] {
        let groups = SettingGroup.allCases.filter { $0 != .common && $0.readers.contains(program) }
        return Settings.facts.filter { groups.contains($0.group) }
    }

    private var program: Program {
        switch self {
        case .generator: .generator
        case .pusher: .pusher
        case .archiver: .archiver
        case .discarder: .discarder
        case .relay: .relay
        }
    }
}
