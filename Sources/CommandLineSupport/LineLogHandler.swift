import EventStream
import Glibc
public import Logging

/// Writes log entries to standard error, one a line, for people or as JSON.
public struct LineLogHandler: LogHandler {
    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level
    private let label: String
    private let json: Bool

    public init(label: String, json: Bool, level: Logger.Level) {
        self.label = label
        self.json = json
        logLevel = level
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var all = metadata
        if let more = event.metadata { all.merge(more) { $1 } }
        let entries = all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let timestamp = EventTimestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
        let line =
            json
            ? jsonLine(timestamp, event, entries)
            : "\(timestamp) \(event.level.rawValue.uppercased()) \(label): \(event.message)"
                + entries.map { " \($0.0)=\(quotedIfNeeded($0.1))" }.joined() + "\n"
        // One write, so that lines of several threads do not mix.
        let bytes = Array(line.utf8)
        _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    private func quotedIfNeeded(_ value: String) -> String {
        let flat = value.split(whereSeparator: \.isNewline).joined(separator: " ")
        return flat.contains(" ") || flat.isEmpty ? "\"\(flat)\"" : flat
    }

    private func jsonLine(_ timestamp: EventTimestamp, _ event: LogEvent, _ entries: [(String, String)]) -> String {
        let fields = [
            ("ts", "\(timestamp)"), ("level", event.level.rawValue), ("process", label), ("message", "\(event.message)"),
        ]
        return jsonObject((fields + entries).map { ($0.0, jsonQuoted($0.1)) }) + "\n"
    }
}

/// A JSON string literal.
public func jsonQuoted(_ text: String) -> String { RawJSON(string: text).description }

/// A JSON string literal; `null` for nothing, and for an empty text.
public func jsonText(_ text: String?) -> String { text.flatMap { $0.isEmpty ? nil : jsonQuoted($0) } ?? "null" }

/// A JSON object of members whose values are JSON.
public func jsonObject(_ members: [(String, String)]) -> String {
    "{" + members.map { "\(jsonQuoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
}

/// A JSON array of elements that are JSON.
public func jsonList(_ elements: [String]) -> String { "[\(elements.joined(separator: ","))]" }
