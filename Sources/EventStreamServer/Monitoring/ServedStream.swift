package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Which stream a process serves, as it says with `/readyz`: so that nobody takes another stream's process for this one's.
package struct ServedStream: Hashable, Sendable, CustomStringConvertible {
    /// The stream's UUID; nil where the process may not know it.
    package var stream: String?
    /// Where its active table is; nil for a process that does not use it.
    package var place: StreamPlace?
    package var table: String?

    package init(stream: String?, place: StreamPlace?, table: String?) {
        (self.stream, self.place, self.table) = (stream, place, table)
    }

    /// The stream's place, which every role may look at.
    package static func load(_ info: StreamInfo, from connection: Connection) async throws -> ServedStream {
        ServedStream(stream: nil, place: try await GenerationStore(info).place(on: connection), table: "\(info.tables.events)")
    }

    /// As it is written in the header `Evt-Stream`.
    package var description: String {
        [stream.map { "stream=\($0)" }, place.map { "place=\($0)" }, table.map { "table=\($0)" }].compactMap(\.self)
            .joined(separator: "; ")
    }

    package init?(_ text: String) {
        self.init(stream: nil, place: nil, table: nil)
        for part in text.split(separator: ";").map({ $0.trimmed }) {
            guard let equals = part.firstIndex(of: "=") else { continue }
            let value = String(part[part.index(after: equals)...])
            switch part[..<equals] {
            case "stream": stream = value
            case "place": place = StreamPlace(value)
            case "table": table = value
            default: break
            }
        }
        guard stream != nil || place != nil else { return nil }
    }

    /// Whether it is certainly another one. What one of the two does not know is not different; nor is the timeline, which a
    /// fail-over changes.
    package func isOther(than other: ServedStream) -> Bool {
        if let stream, let theirs = other.stream, stream != theirs { return true }
        guard let place, let theirs = other.place else { return false }
        if !place.server.isEmpty, !theirs.server.isEmpty, place.server != theirs.server { return true }
        return place.database != theirs.database || place.table != theirs.table
    }
}
