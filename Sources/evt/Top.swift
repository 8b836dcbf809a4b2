import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer

struct Top: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Shows live rates and lags, by what the tables say.",
        discussion: "IN is what was recorded, OUT what a consumer has confirmed, both in events a second. Ctrl-C ends it.")

    static let settings = Settings.facts(of: .database)
    @OptionGroup var flags: SettingFlags<Self>
    @Option(help: "How often.") var interval = "2s"
    @Option(help: "Stop after so many looks; for ever unless set.") var count: Int?

    func run() async throws {
        let (count, pause) = (count ?? .max, try duration(interval, of: "--interval"))
        guard count > 0 else { throw ValidationError("--count is a number from 1") }
        OutputReader.endWhenGone()
        try await StatusReader.with(flags.read()) { read in
            var before: (status: StreamStatus, at: ContinuousClock.Instant)?
            var looks = 0
            while looks < count {
                let status = try await read(before?.status.head)
                let now = ContinuousClock.now
                if let before {
                    let rates = StreamRates(from: before.status, to: status, seconds: (now - before.at) / .seconds(1))
                    Terminal.replace(with: TopPage(status, rates, .standard).text)
                    looks += 1
                }
                before = (status, now)
                if looks < count { try await Task.sleep(for: pause) }
            }
        }
    }
}

/// What happened between two looks at the stream, in events a second.
struct StreamRates {
    let recorded: Double
    /// By consumer.
    let confirmed: [String: Double]

    init(from before: StreamStatus, to after: StreamStatus, seconds: Double) {
        let seconds = max(seconds, 0.001)
        recorded = Double(after.recorded.values.reduce(0, +)) / seconds
        var confirmed: [String: Double] = [:]
        let earlier = Dictionary(before.consumers.map { ($0.consumer, $0) }, uniquingKeysWith: { $1 })
        for consumer in after.consumers {
            guard let earlier = earlier[consumer.consumer], earlier.want == consumer.want else { continue }
            let wanted = after.recorded.reduce(0) { $0 + (consumer.want.wants($1.key) ? $1.value : 0) }
            confirmed[consumer.consumer] = Double(max(0, earlier.lag.events + wanted - consumer.lag.events)) / seconds
        }
        self.confirmed = confirmed
    }
}

/// One look, as text.
struct TopPage {
    let text: String

    init(_ status: StreamStatus, _ rates: StreamRates, _ style: Style) {
        let out = rates.confirmed.values.reduce(0, +)
        var lines = [
            "\(style.text("in", .bold)) \(TopPage.rate(rates.recorded))/s   \(style.text("out", .bold)) \(TopPage.rate(out))/s   "
                + "\(style.text("queue", .bold)) \(events(status.backlog.events)), \(sizeText(status.backlog.bytes))   "
                + "\(style.text("head", .bold)) \(status.head)"
        ]
        for trouble in status.pusherTroubles { lines.append(style.text("pusher: \(trouble)", .bad)) }
        if let writer = status.writers.first { lines.append(style.text("waiting for \(writer)", .bad)) }
        for lock in status.locks { lines.append(style.text(printable("locked: \(lock)"), .bad)) }
        for lock in status.roleLocks { lines.append(style.text(printable("locked: \(lock)"), .bad)) }
        if let refusal = status.refusal { lines.append(style.text("kept: \(refusal)", .bad)) }
        lines.append("")
        let most = status.consumers.map(\.lag.events).max() ?? 0
        var table = TextTable(["CONSUMER", "OUT/S", "LAG", "LAG TIME", "HELD", "SERVED", ""], numeric: [1, 2, 3, 4])
        for consumer in status.consumers.sorted(by: { ($0.lag.events, $1.consumer) > ($1.lag.events, $0.consumer) }) {
            let rate = rates.confirmed[consumer.consumer].map { TopPage.rate($0) } ?? "-"
            let cells: [TextTable.Cell] = [
                .init(consumer.consumer, .bold), .init(rate), .init("\(consumer.lag.events)"),
                .init(timeText(consumer.lag.seconds)), .init("\(consumer.held.events)"),
                .init(consumer.isServed ? "yes" : "no", consumer.isServed ? .good : .bad),
                .init(
                    consumer.readsArchive
                        ? status.archiveText(of: consumer) : TopPage.bar(consumer.lag.events, of: most),
                    consumer.isServed ? .warning : .bad),
            ]
            table.add(cells)
        }
        lines.append(status.consumers.isEmpty ? "no consumers are registered" : table.text(style))
        text = lines.joined(separator: "\n")
    }

    static func rate(_ value: Double) -> String { value < 10 ? "\((value * 10).rounded() / 10)" : "\(Int(value.rounded()))" }

    /// A bar in eighths of a character; something where there is anything.
    static func bar(_ value: Int, of most: Int, width: Int = 20) -> String {
        guard value > 0, most > 0 else { return "" }
        let eighths = max(1, value * width * 8 / most)
        let rest = eighths % 8
        let last = rest == 0 ? "" : String(Unicode.Scalar(UInt32(0x2590 - rest))!)
        return String(repeating: "\u{2588}", count: eighths / 8) + last
    }
}
