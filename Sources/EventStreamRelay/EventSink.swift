/// Where a relay hands events over to.
protocol EventSink: Sendable {
    /// Where that is, for logs; without secrets.
    var name: String { get }
    /// How much it takes at once.
    var limits: RelayPlan.Limits { get }
    /// Hands events over together: all of them are taken, or none is known to be. Answers in a time that is bounded; ends early when
    /// the task is cancelled.
    ///
    /// - Parameter events: at least one, of one generation.
    func deliver(_ events: [CloudEvent]) async -> SinkOutcome
    /// Nothing is handed over any more.
    func close() async
}
