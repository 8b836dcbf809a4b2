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
    /// What the server waits for, while it takes a COPY.
    var pendingCopy: CopySource?
    var consecutiveNulls = 0

    init(_ kind: Kind, completion: @escaping (Result<Rows, PostgresError>) -> Void) {
        self.kind = kind
        self.completion = completion
    }

    /// PQgetResult returns null between the results of a pipeline's statements, and null again when there is no more.
    func nullIsSeparator() -> Bool {
        consecutiveNulls += 1
        return consecutiveNulls < 2
    }

    func complete(_ result: Result<Rows, PostgresError>) {
        let completion = completion
        self.completion = nil
        completion?(result)
    }
}
