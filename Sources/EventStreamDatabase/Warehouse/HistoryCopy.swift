import EventStream
import LibPQ

extension CopySource {
    /// Events as rows of ``HistoryStore/columns``, in PostgreSQL's binary COPY format (manual, COPY, "Binary Format").
    init(_ events: ArraySlice<Event>) {
        var rest = events
        var isFirst = true
        var isDone = false
        self.init {
            guard !isDone else { return nil }
            var bytes: [UInt8] = []
            bytes.reserveCapacity(HistoryCopy.piece + 4096)
            if isFirst {
                bytes += HistoryCopy.header
                isFirst = false
            }
            while bytes.count < HistoryCopy.piece, let event = rest.popFirst() { HistoryCopy.append(event, to: &bytes) }
            if rest.isEmpty {
                HistoryCopy.append(Int16(-1), to: &bytes)
                isDone = true
            }
            return bytes
        }
    }
}

private enum HistoryCopy {
    /// Bytes handed to libpq at a time, about.
    static let piece = 256 << 10
    /// Signature, flags, no extension.
    static let header = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8)

    static func append<Value: FixedWidthInteger>(_ value: Value, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    static func append(_ event: Event, to bytes: inout [UInt8]) {
        append(Int16(6), to: &bytes)
        append(Int32(8), to: &bytes)
        append(event.id.rawValue, to: &bytes)
        event.type.withUTF8 { type in
            append(Int32(type.count), to: &bytes)
            bytes.append(contentsOf: type)
        }
        append(event.data.bytes, to: &bytes)
        append(Int32(8), to: &bytes)
        append(event.timestamp.postgres, to: &bytes)
        append(event.key?.utf8, to: &bytes)
        append(event.meta?.bytes, to: &bytes)
    }

    private static func append(_ field: (some Collection<UInt8>)?, to bytes: inout [UInt8]) {
        guard let field else { return append(Int32(-1), to: &bytes) }
        append(Int32(field.count), to: &bytes)
        bytes.append(contentsOf: field)
    }
}
