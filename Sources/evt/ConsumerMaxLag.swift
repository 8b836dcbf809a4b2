import ArgumentParser
import CommandLineSupport
import EventStreamDatabase
import EventStreamServer
import LibPQ

// How far one consumer may be behind and still hold all its events back.

struct MaxLagOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            How far behind the consumer may be and hold all its events back: a number of events, a duration such as 2h, none for any, \
            or default for what the discarder is set to (EVT_DISCARD_MAX_LAG). Counts only where the discarder requires archives.
            """, valueName: "lag"))
    var maxLag: String?

    /// What to set; nil if nothing is to be set.
    var change: MaxLagChange? {
        get throws {
            switch maxLag {
            case nil: nil
            case "default": MaxLagChange(value: nil)
            case "none": MaxLagChange(value: .unlimited)
            case let text?:
                if let value = MaxLag(text: text) {
                    MaxLagChange(value: value)
                } else {
                    throw ValidationError("--max-lag is \(MaxLag.range), none or default, not \(text)")
                }
            }
        }
    }
}

struct MaxLagChange: Sendable {
    /// Nil for what the discarder is set to.
    let value: MaxLag?

    /// - Returns: what it means, for people.
    func make(_ ident: String, _ info: StreamInfo, on connection: Connection) async throws -> String {
        let standard = try await MaxLagStore(info).set(ident, to: value, on: connection)
        let words =
            switch value {
            case nil: "as the discarder is set, \(standard.map { lagText($0) } ?? "none")"
            case .unlimited?: "none: it holds back all events that it has not confirmed"
            case let value?: lagText(value.text)
            }
        return "the maximum lag of \(ident) is \(words)"
    }
}

/// A maximum lag as it is written in settings, for people: `1000000` are events.
func lagText(_ text: String) -> String { text.utf8.last.map { $0 <= UInt8(ascii: "9") } ?? false ? "\(text) events" : text }
