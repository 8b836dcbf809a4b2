/// One of the four processes.
public enum Role: String, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    case generator, pusher, archiver, discarder
    public var description: String { rawValue }

    /// What the process is for, in one sentence.
    package var purpose: String {
        switch self {
        case .generator: "Records events for clients that have no database transaction of their own."
        case .pusher: "Pushes every committed event, in order, to every registered consumer."
        case .archiver: "Copies the stream into a warehouse database, each event exactly once."
        case .discarder: "Removes events that every registered consumer has confirmed."
        }
    }

    /// What the process can be set to.
    package var settings: [SettingFacts] {
        switch self {
        case .generator: Settings.facts(of: .process, .database, .generator, .keys, .sockets)
        case .pusher: Settings.facts(of: .process, .database, .pusher, .keys, .sockets)
        case .archiver: Settings.facts(of: .process, .archive, .archiver, .keys, .connect)
        case .discarder: Settings.facts(of: .process, .database, .archive, .discarder)
        }
    }
}
