import EventStreamDatabase
import Foundation

/// The figures of a run, for people.
struct MixReport {
    let mix: Mix
    let truth: Truth

    func verdict() -> Verdict {
        var verdict = Verdict()
        print()
        for line in mix.tally.lines { print(line) }
        if !mix.stage.info.writersMayPrepare {
            print("  prepared transactions left out: max_prepared_transactions is 0, or writers notify all the same")
        }
        print("events                \(truth.count)\n")
        printDeliveries(&verdict)
        printLatencies(&verdict)
        verdict.check("failed statements", "\(mix.tally.failures)", mix.tally.failures == 0)
        return verdict
    }

    private func printDeliveries(_ verdict: inout Verdict) {
        let titles = ["expected", "received", "lost", "dropped", "doubled", "disordered", "uncommitted"]
        print(row("listener", titles))
        for one in mix.listening {
            let found = one.comparison(with: truth)
            let numbers = [
                found.expected, found.received, found.lost, found.dropped, found.doubled, found.outOfOrder, found.uncommitted,
            ]
            print(row(one.name, numbers.map(String.init)))
            verdict.check(one.name, found.isGood ? "as it must be" : "not what was committed", found.isGood)
        }
        print("dropped: within the limits of LIVE and of the broadcast\n")
    }

    private func printLatencies(_ verdict: inout Verdict) {
        let received = mix.listening.first { $0.name == Listening.timed }?.recording.contents.probes ?? [:]
        var medians: [Phase: Double] = [:]
        print("committed to received")
        for phase in Phase.allCases {
            let latencies = mix.probe.latencies(phase, received: received)
            guard latencies.count > 0 else { continue }
            medians[phase] = latencies.percentile(0.5)
            print("  \(padded(phase.rawValue, 42))\(latencies) (\(latencies.count) probes)")
        }
        print()
        guard let without = medians[.quiet], let with = medians[.quietBeside] else {
            return verdict.check("added delay", "not measured", true)
        }
        let added = with - without
        let text = String(format: "%.1f ms by an unrelated open write transaction (p50)", added)
        verdict.check("added delay", text, added < mix.delayLimit)
    }

    private func row(_ name: String, _ columns: [String]) -> String {
        padded(name, 22) + columns.map { String(repeating: " ", count: max(1, 12 - $0.count)) + $0 }.joined()
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text.padding(toLength: width, withPad: " ", startingAt: 0)
    }
}
