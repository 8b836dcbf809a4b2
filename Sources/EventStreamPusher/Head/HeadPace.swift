/// Keeps reading the head to a share of one processor, while events flow and processors are short.
///
/// Each read that brings few events costs writers and readers nearly as much as one that brings many. Where nobody else wants the
/// processor that is the price of a short way; else the pause after a read grows with what the read has cost.
struct HeadPace {
    struct Configuration: Sendable {
        /// Of one processor, in percent: 1 to 100; 100 for no pauses.
        var share = 20
        /// No pause is longer.
        var longest = Duration.milliseconds(4)
    }

    private let configuration: Configuration
    /// What a read that brings events costs, averaged.
    private var cost = Duration.zero

    init(_ configuration: Configuration) { self.configuration = configuration }

    /// - Parameter took: how long the read took.
    mutating func read(took: Duration) { cost = cost == .zero ? took : (cost * 7 + took) / 8 }

    /// How long to wait before the next read.
    var pause: Duration { min(configuration.longest, cost * (100 - configuration.share) / configuration.share) }
}
