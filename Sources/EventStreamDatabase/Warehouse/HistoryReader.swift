package import EventStream
package import LibPQ

/// Reads the archive, in id order, however large it is.
package struct HistoryReader: Sendable {
    /// Which events.
    package struct Query: Sendable {
        package var want = EventFilter.all
        package var first = EventID(1)
        package var last = EventID(.max)
        /// From this time on.
        package var since: EventTimestamp?
        /// Before this time.
        package var until: EventTimestamp?
        package init() {}
    }

    private let history: HistoryStore

    package init(_ history: HistoryStore) { self.history = history }

    /// Rows read with one statement: none is open for long.
    private static let pageRows = 50_000

    package func count(_ query: Query, on connection: Connection) async throws -> Int {
        let rows = try await connection.query(
            Statement("SELECT count(*) FROM \(history.tables.history.sql) WHERE \(condition(query))"))
        return Int(rows.int(0, 0) ?? 0)
    }

    /// - Parameters:
    ///   - limit: the first so many.
    ///   - sink: gets every event as it arrives.
    package func read(_ query: Query, limit: Int = .max, on connection: Connection, to sink: @escaping (Event) -> Void)
        async throws
    {
        var query = query
        var left = limit
        while left > 0 {
            let wanted = min(left, HistoryReader.pageRows)
            var count = 0
            var parser = CopyRows()
            try await connection.copyOut(
                """
                COPY (SELECT \(HistoryStore.columns) FROM \(history.tables.history.sql) WHERE \(condition(query))
                    ORDER BY id LIMIT \(wanted)) TO STDOUT (FORMAT binary)
                """
            ) { bytes in
                try parser.parse(bytes) { event in
                    count += 1
                    query.first = event.id.next
                    sink(event)
                }
            }
            left -= count
            if count < wanted { return }
        }
    }

    /// COPY takes no parameters: numbers, and types, which have nothing to quote.
    private func condition(_ query: Query) -> String {
        var parts = ["id >= \(query.first)", "id <= \(query.last)"]
        if let types = query.want.types {
            let list = types.map { "'\($0)'" }.sorted().joined(separator: ", ")
            let wanted =
                (types.isEmpty ? [] : ["type IN (\(list))"]) + query.want.prefixes.map { "starts_with(type, '\($0)')" }.sorted()
            parts.append("(\(wanted.joined(separator: " OR ")))")
        }
        func time(_ time: EventTimestamp) -> String {
            "timestamp '2000-01-01' + interval '1 second' * \(time.postgres / 1_000_000)"
        }
        if let since = query.since { parts.append("ts >= \(time(since))") }
        if let until = query.until { parts.append("ts < \(time(until))") }
        return parts.joined(separator: " AND ")
    }
}

/// Events out of rows of ``HistoryStore/columns``, in PostgreSQL's binary COPY format.
private struct CopyRows {
    private var isFirst = true

    mutating func parse(_ bytes: UnsafeRawBufferPointer, _ sink: (Event) -> Void) throws {
        var rest = bytes[...]
        func number<Value: FixedWidthInteger>(_: Value.Type) throws(StoreError) -> Value {
            let size = MemoryLayout<Value>.size
            guard rest.count >= size else { throw StoreError("the server's COPY data ends in the middle of a row") }
            defer { rest = rest.dropFirst(size) }
            return Value(bigEndian: UnsafeRawBufferPointer(rebasing: rest.prefix(size)).loadUnaligned(as: Value.self))
        }
        func fieldOrNull() throws(StoreError) -> Slice<UnsafeRawBufferPointer>? {
            let length = Int(try number(Int32.self))
            guard length >= 0 else { return nil }
            guard length <= rest.count else { throw StoreError("the server's COPY data holds no event") }
            defer { rest = rest.dropFirst(length) }
            return rest.prefix(length)
        }
        func field() throws(StoreError) -> Slice<UnsafeRawBufferPointer> {
            guard let field = try fieldOrNull() else { throw StoreError("the server's COPY data holds no event") }
            return field
        }
        if isFirst {
            isFirst = false
            rest = rest.dropFirst(15)
            let extensionLength = Int(try number(Int32.self))
            rest = rest.dropFirst(extensionLength)
        }
        while !rest.isEmpty {
            guard try number(Int16.self) == 6 else { return }
            let id = try field().loadInteger()
            let (type, data) = (try field(), try field())
            let time = try field().loadInteger()
            let (key, meta) = (try fieldOrNull(), try fieldOrNull())
            guard let type = EventType(wire: type) else {
                throw StoreError(
                    "the archive's event \(id) has the type \"\(String(decoding: type, as: UTF8.self))\", which is none")
            }
            sink(
                Event(
                    id: EventID(id), type: type, data: RawJSON(unchecked: Array(data)),
                    timestamp: EventTimestamp(postgres: time), key: key.map { String(decoding: $0, as: UTF8.self) },
                    meta: meta.map { RawJSON(unchecked: Array($0)) }))
        }
    }
}

extension Slice<UnsafeRawBufferPointer> {
    fileprivate func loadInteger() -> Int64 {
        count == 8 ? Int64(bigEndian: UnsafeRawBufferPointer(rebasing: self).loadUnaligned(as: Int64.self)) : 0
    }
}
