/// The parts of a run. The quiet ones measure what an unrelated transaction costs: the load holds the stream back itself.
enum Phase: String, CaseIterable {
    case load = "load"
    case loadBeside = "load, beside an unrelated transaction"
    case quiet = "quiet"
    case quietBeside = "quiet, beside an unrelated transaction"

    var isQuiet: Bool { self == .quiet || self == .quietBeside }
    var hasUnrelatedTransaction: Bool { self == .loadBeside || self == .quietBeside }
}
