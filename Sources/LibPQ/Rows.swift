import CLibPQ

/// The rows a statement returned, or how many it touched.
///
/// Owns the `PGresult`; values are read in place.
/// `@unchecked Sendable`: a PGresult is never changed after it has been received, and libpq allows reading it from any
/// thread (libpq manual, "Behavior in Threaded Programs").
package final class Rows: @unchecked Sendable {
    private let result: OpaquePointer
    package let count: Int

    init(_ result: OpaquePointer) {
        self.result = result
        count = Int(PQntuples(result))
    }

    deinit { PQclear(result) }

    /// How many rows an INSERT, UPDATE or DELETE touched, or COPY copied.
    package var affected: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }

    /// What was carried out: `SELECT 5`, `COMMIT`, …
    package var commandTag: String { String(cString: PQcmdStatus(result)) }

    package var columnCount: Int { Int(PQnfields(result)) }

    package func columnName(_ column: Int) -> String { String(cString: PQfname(result, Int32(column))) }

    package func isNull(_ row: Int, _ column: Int) -> Bool { PQgetisnull(result, Int32(row), Int32(column)) == 1 }

    /// The value's bytes, valid while this object lives. Empty for NULL.
    @inline(__always)
    package func bytes(_ row: Int, _ column: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            start: PQgetvalue(result, Int32(row), Int32(column)),
            count: Int(PQgetlength(result, Int32(row), Int32(column))))
    }

    /// The same; nil for NULL.
    @inline(__always)
    package func bytesUnlessNull(_ row: Int, _ column: Int) -> UnsafeRawBufferPointer? {
        isNull(row, column) ? nil : bytes(row, column)
    }

    /// The value as text, nil for NULL.
    package func string(_ row: Int, _ column: Int) -> String? {
        isNull(row, column) ? nil : String(decoding: bytes(row, column), as: UTF8.self)
    }

    /// An integer column of a text result, nil for NULL.
    package func int(_ row: Int, _ column: Int) -> Int64? { string(row, column).flatMap { Int64($0) } }

    package func bool(_ row: Int, _ column: Int) -> Bool? { string(row, column).map { $0 == "t" } }

    /// A `bigint` or `timestamp` column of a binary result; zero for NULL.
    @inline(__always)
    package func binaryInt8(_ row: Int, _ column: Int) -> Int64 {
        let value = bytes(row, column)
        guard value.count == 8 else { return 0 }
        return Int64(bigEndian: value.loadUnaligned(as: Int64.self))
    }
}

/// A message from NOTIFY.
package struct Notification: Sendable, Hashable {
    package let channel: String
    package let payload: String
    /// The notifying backend's process id.
    package let processID: Int32
}
