import EventStream
import EventStreamServer
import Glibc
package import Logging

/// Writes log entries to standard error, one a line, for people or as JSON; never waits for whoever reads them.
///
/// What a stranger wrote can neither start a line nor look like another value, and a terminal obeys nothing in it.
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let log: Log

    package init(level: Logger.Level, log: Log) {
        self.log = log
        logLevel = level
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var all = metadata
        if let more = event.metadata { all.merge(more) { $1 } }
        let values = all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        log.write(LogLine(level: event.level, label: log.label, message: "\(event.message)", values: values))
    }
}

/// One entry of the log, as text or JSON.
struct LogLine {
    let level: Logger.Level
    let label: String
    let message: String
    let values: [(String, String)]
    var timestamp = EventTimestamp.now

    /// Bytes that a message or a value may have; the rest is left out.
    static let longest = 8192

    func bytes(json: Bool) -> [UInt8] { Array((json ? object : text).utf8) + [UInt8(ascii: "\n")] }

    private var text: String {
        "\(timestamp) \(level.rawValue.uppercased()) \(SafeText.message(label)): \(SafeText.message(cut(message)))"
            + values.map { " \(SafeText.value($0.0))=\(SafeText.value(cut($0.1)))" }.joined()
    }

    private var object: String {
        let fields = [("ts", "\(timestamp)"), ("level", level.rawValue), ("process", label), ("message", message)]
        return jsonObject((fields + values).map { ($0.0, jsonQuoted(cut($0.1))) })
    }

    private func cut(_ text: String) -> String {
        let count = text.utf8.count
        guard count > LogLine.longest else { return text }
        return String(decoding: text.utf8.prefix(LogLine.longest), as: UTF8.self) + " … \(count - LogLine.longest) more bytes"
    }
}

/// The log of a process on its standard error.
package final class Log: Sendable {
    let label: String
    private let json: Bool
    private let writer: LogWriter

    package init(label: String, json: Bool) {
        self.label = label
        self.json = json
        writer = LogWriter(STDERR_FILENO) { count in
            LogLine(
                level: .warning, label: label,
                message: "lines of the log were dropped: whoever reads the log did not take them in time",
                values: [("lines", "\(count)")]
            ).bytes(json: json)
        }
    }

    func write(_ line: LogLine) { writer.write(line.bytes(json: json)) }

    /// Lines that were not written.
    var dropped: Int { writer.dropped }

    /// Waits until what was logged is written, as long as somebody takes it.
    func flush(within timeout: Duration = .seconds(1)) { writer.flush(within: timeout) }
}

/// A JSON string literal in which nothing is left that a terminal would obey.
package func jsonQuoted(_ text: String) -> String { SafeText.quoted(text) }

/// A JSON string literal; `null` for nothing, and for an empty text.
package func jsonText(_ text: String?) -> String { text.flatMap { $0.isEmpty ? nil : jsonQuoted($0) } ?? "null" }

/// A JSON object of members whose values are JSON.
package func jsonObject(_ members: [(String, String)]) -> String {
    "{" + members.map { "\(jsonQuoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
}

/// A JSON array of elements that are JSON.
package func jsonList(_ elements: [String]) -> String { "[\(elements.joined(separator: ","))]" }
