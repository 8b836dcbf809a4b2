/// What became of events that were handed to a sink.
enum SinkOutcome: Hashable, Sendable {
    /// The sink has them.
    case taken
    /// Not now, whatever the events are: they are handed over again after a while, at the earliest after this one.
    case again(after: Duration?, because: String)
    /// Not these events: they would be refused again.
    case refused(String)
    /// No events at all until a person changes something, such as a wrong URL.
    case standStill(because: String)
}
