/// What a connection has been asked to do, and whom to tell.
final class Command {
    enum Kind {
        /// One statement, pipelined with its neighbours.
        case statement(Statement, [Parameter])
        /// Several statements in one string, alone on the connection.
        case script(String)
        /// `COPY … FROM STDIN`; the source is called until it returns nil.
        case copyIn(String, source: CopySource)
        /// `COPY … TO STDOUT`; the sink gets every row as it arrives.
        case copyOut(String, sink: (UnsafeRawBufferPointer) throws -> Void)

        var isPipelined: Bool {
            if case .statement = self { return true }
            return false
        }
    }

    let kind: Kind
    private var completion: ((Result<Rows, PostgresError>) -> Void)?
    /// The first error seen; later ones only follow from it.
    var failure: PostgresError?
    var rows: Rows?
    /// Whether its statement is prepared on the way.
    var isPreparing = false

    init(_ kind: Kind, completion: @escaping (Result<Rows, PostgresError>) -> Void) {
        self.kind = kind
        self.completion = completion
    }

    func complete(_ result: Result<Rows, PostgresError>) {
        let completion = completion
        self.completion = nil
        completion?(result)
    }
}

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
