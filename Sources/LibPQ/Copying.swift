import CLibPQ

/// Data for `COPY … FROM STDIN`, in pieces of any size.
package struct CopySource {
    /// The next piece; nil ends the copy. An error thrown makes the server roll the copy back.
    let next: () throws -> [UInt8]?
    package init(_ next: @escaping () throws -> [UInt8]?) { self.next = next }

    /// All the data at once.
    package init(_ bytes: [UInt8]) {
        var rest: [UInt8]? = bytes
        next = {
            defer { rest = nil }
            return rest
        }
    }
}

extension CopySource {
    /// Hands the server what there is, as far as the socket takes it.
    ///
    /// - Returns: as PQflush, 0 when that was all, 1 while the socket takes no more, and -1 if the connection is lost.
    func send(over pg: OpaquePointer) throws -> Int32 {
        while let piece = try next() {
            let sent = piece.withUnsafeBytes { bytes in
                PQputCopyData(pg, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
            }
            guard sent == 1 else { return -1 }
            // Data waits in libpq's buffer while the socket is full: go on when it has been sent.
            let flushed = PQflush(pg)
            guard flushed == 0 else { return flushed }
        }
        PQputCopyEnd(pg, nil)
        return 0
    }
}

extension Command {
    /// Takes the rows that have arrived; false while more are to come.
    func receiveCopy(from pg: OpaquePointer) -> Bool {
        var sink: ((UnsafeRawBufferPointer) throws -> Void)?
        if case .copyOut(_, let wanted) = kind {
            sink = wanted
        } else {
            failure = PostgresError(.invalidInput, "COPY TO STDOUT needs copyOut, not a plain statement")
        }
        while true {
            var buffer: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(pg, &buffer, 1)
            guard length > 0, let data = buffer else {
                // 0: wait for more. -1: done, the final result follows. -2: failed, the final result says why.
                return length < 0
            }
            defer { PQfreemem(data) }
            guard failure == nil, let sink else { continue }
            do {
                try sink(UnsafeRawBufferPointer(start: data, count: Int(length)))
            } catch {
                failure = error as? PostgresError ?? PostgresError(.invalidInput, "\(error)")
            }
        }
    }
}
