import ArgumentParser
import CommandLineSupport
import EventStream
import Foundation
import LibPQ

/// Measures the built programs, each figure beside its baseline in the same run.
@main
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-bench",
        abstract: "Measures delivery, archiving and discarding, each row beside its baseline from the same run.",
        discussion: """
            Makes databases of its own on the server, starts the built programs (found beside this one) on them, and drops the \
            databases at the end. The server should be otherwise idle, with fsync on; psql is needed in the PATH. etc/bench \
            starts a server and runs this. The exit status is 0 if every row reaches its mark.
            """)

    @Option(
        help: """
            The server, as key=value pairs of a libpq connection string without dbname, for a user who may create databases. \
            Passwords belong in ~/.pgpass.
            """)
    var server = "host=127.0.0.1"
    @Option(help: "How often each row is measured; the median counts.") var runs = 3
    @Option(help: "Only these rows, separated by commas: \(Measure.allCases.map(\.rawValue).joined(separator: ", ")).")
    var only: String?

    func run() async throws {
        let chosen = try only?.split(separator: ",").map { name in
            guard let measure = Measure(rawValue: String(name)) else { throw ValidationError("--only: there is no row \(name)") }
            return measure
        }
        guard !server.contains("://"), !server.contains("dbname"), !holdsPassword(server) else {
            throw ValidationError(
                "--server: give key=value pairs such as \"host=127.0.0.1 port=5432\", without dbname and password")
        }
        guard runs >= 1 else { throw ValidationError("--runs: at least 1") }
        keepFreedMemory()
        print(Machine.description)
        print(try await Machine.server(server))
        Row.printHeader()
        var good = true
        for measure in chosen ?? Measure.allCases {
            for row in try await measure.rows(on: server, runs: runs) {
                row.print()
                good = good && row.isGood
            }
        }
        guard good else { throw ExitCode.failure }
    }
}

/// What can be measured.
enum Measure: String, CaseIterable {
    case history, replay, curve, live, latency, heads, idle, memory, archive, archiving, discard, verified, inserting, once,
        slices, size, positions

    func rows(on server: String, runs: Int) async throws -> [Row] {
        switch self {
        case .history: [try await HistoryMeasure.row(server, runs: runs)]
        case .replay: try await ReplayMeasure.rows(server, runs: runs)
        case .curve: [try await HistoryMeasure.keyedRow(server, runs: runs)]
        case .live: [try await LiveMeasure.row(server, runs: runs)]
        case .latency: try await LatencyMeasure.rows(server, runs: runs)
        case .heads: try await HeadsMeasure.rows(server, runs: runs)
        case .idle: try await IdleMeasure.rows(server)
        case .memory: [try await MemoryMeasure.row(server, runs: runs)]
        case .archive: [try await ArchiveMeasure.row(server, runs: runs)]
        case .archiving: [try await ArchivingMeasure.row(server, runs: runs)]
        case .discard: [try await DiscardMeasure.row(server, runs: runs, verifies: false)]
        case .verified: [try await DiscardMeasure.row(server, runs: runs, verifies: true)]
        case .inserting: [try await InsertingMeasure.row(server, runs: runs)]
        case .once: [try await OnceMeasure.row(server, runs: runs)]
        case .slices: [try await SlicesMeasure.row(server, runs: runs)]
        case .size: try await SizeMeasure.rows(server)
        case .positions: [try await PositionsMeasure.row(server)]
        }
    }
}

/// A line of the table.
struct Row {
    let measure: String
    let baseline: String
    let result: String
    /// The result against the baseline, or by itself where there is none.
    let ratio: String
    let mark: String
    let isGood: Bool

    private static let widths = [54, 26, 26, 10, 12]

    private static func line(_ cells: [String]) {
        Swift.print(
            "| "
                + zip(cells, widths).map { $0.padding(toLength: max($1, $0.count), withPad: " ", startingAt: 0) }.joined(
                    separator: " | ") + " |")
    }

    static func printHeader() {
        line(["measure", "baseline", "result", "ratio", "mark"])
        line(widths.map { String(repeating: "-", count: $0) })
    }

    func print() { Row.line([measure, baseline, result, ratio, mark + (isGood ? "" : "  MISSED")]) }
}

enum Machine {
    static var description: String {
        let model =
            (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?
            .split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
            .map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown processor"
        return "\(ProcessInfo.processInfo.activeProcessorCount) cores, \(model)"
    }

    static func server(_ url: String) async throws -> String {
        try await withConnection(to: "\(url) dbname=postgres") { connection in
            let rows = try await connection.query(
                """
                SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
                    current_setting('shared_buffers')
                """)
            let values = (0..<4).map { rows.string(0, $0) ?? "" }
            return "PostgreSQL \(values[0]), fsync \(values[1]), synchronous_commit \(values[2]), shared_buffers \(values[3])\n"
        }
    }
}

/// The medians of what a measure and its baseline take, in seconds.
///
/// - Parameter measure: called once more than that; the first run, number 0, only warms the server up.
func medians(
    of runs: Int, _ measure: (_ run: Int) async throws -> (baseline: Double, result: Double)
) async throws -> (baseline: Double, result: Double) {
    var times: [(baseline: Double, result: Double)] = []
    for run in 0...runs { times.append(try await measure(run)) }
    let counted = times.dropFirst()
    return (counted.map(\.baseline).median, counted.map(\.result).median)
}

extension Array where Element: Comparable {
    /// The middle one; of an even number, the lower of the two in the middle.
    var median: Element { sorted()[(count - 1) / 2] }

    /// - Parameter part: 0 to 1.
    func percentile(_ part: Double) -> Element { sorted()[Swift.min(count - 1, Int(Double(count) * part))] }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

extension Double {
    func text(_ digits: Int) -> String { String(format: "%.\(digits)f", self) }
    /// Thousands a second.
    var rate: String { self >= 100_000 ? "\((self / 1000).text(0)) k/s" : "\((self / 1000).text(1)) k/s" }
}
