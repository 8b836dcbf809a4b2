import CLibPQ

/// The rows a statement returned, or how many it touched.
///
/// Owns the `PGresult`; values are read in place.
/// `@unchecked Sendable`: a PGresult is never changed after it has been received, and libpq allows reading it from any
/// thread (libpq manual, "Behavior in Threaded Programs").
public final class Rows: @unchecked Sendable {
    private let result: OpaquePointer
    public let count: Int

    init(_ result: OpaquePointer) {
        self.result = result
        count = Int(PQntuples(result))
    }

    deinit { PQclear(result) }

    /// How many rows an INSERT, UPDATE or DELETE touched, or COPY copied.
    public var affected: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }

    /// What was carried out: `SELECT 5`, `COMMIT`, …
    public var commandTag: String { String(cString: PQcmdStatus(result)) }

    public var columnCount: Int { Int(PQnfields(result)) }

    public func columnName(_ column: Int) -> String { String(cString: PQfname(result, Int32(column))) }

    public func isNull(_ row: Int, _ column: Int) -> Bool { PQgetisnull(result, Int32(row), Int32(column)) == 1 }

    /// The value's bytes, valid while this object lives. Empty for NULL.
    @inline(__always)
    public func bytes(_ row: Int, _ column: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            start: PQgetvalue(result, Int32(row), Int32(column)),
            count: Int(PQgetlength(result, Int32(row), Int32(column))))
    }

    /// The value as text, nil for NULL.
    public func string(_ row: Int, _ column: Int) -> String? {
        isNull(row, column) ? nil : String(decoding: bytes(row, column), as: UTF8.self)
    }

    /// An integer column of a text result, nil for NULL.
    public func int(_ row: Int, _ column: Int) -> Int64? { string(row, column).flatMap { Int64($0) } }

    public func bool(_ row: Int, _ column: Int) -> Bool? { string(row, column).map { $0 == "t" } }

    /// A `bigint` or `timestamp` column of a binary result; zero for NULL.
    @inline(__always)
    public func binaryInt8(_ row: Int, _ column: Int) -> Int64 {
        let value = bytes(row, column)
        guard value.count == 8 else { return 0 }
        return Int64(bigEndian: value.loadUnaligned(as: Int64.self))
    }
}

/// A message from NOTIFY.
public struct Notification: Sendable, Hashable {
    public let channel: String
    public let payload: String
    /// The notifying backend's process id.
    public let processID: Int32
}
