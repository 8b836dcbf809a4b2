import CLibPQ

/// What went wrong between us and PostgreSQL, or inside it.
package struct PostgresError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure; open, so that a new kind breaks no caller.
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// The server could not be reached, or refused the connection.
        package static let connectionFailed = Code(rawValue: "connectionFailed")
        /// The connection ended while a command was waiting or under way.
        package static let connectionLost = Code(rawValue: "connectionLost")
        /// The server reported an error; see ``PostgresError/sqlState``.
        package static let server = Code(rawValue: "server")
        /// The connection had been closed by our side.
        package static let closed = Code(rawValue: "closed")
        /// A caller's value does not fit: an unreadable connection string, a value that is not what was asked for.
        package static let invalidInput = Code(rawValue: "invalidInput")
    }

    package var code: Code
    /// A sentence for people, never with a password in it.
    package var message: String
    /// Of a server error.
    package var sqlState: SQLState?
    package var detail: String?
    package var hint: String?
    /// The table, column, and constraint or unique index a server error is about, where the server names them.
    package var table: String?
    package var column: String?
    package var constraint: String?
    /// The function of the server that raised the error.
    private(set) var raisedBy: String?
    /// False if the command has certainly changed nothing: it was never sent, or the server refused it. True if the
    /// connection was lost with the command under way: it may have been carried out.
    package var mayHaveBeenExecuted: Bool

    package init(
        _ code: Code, _ message: String, sqlState: SQLState? = nil, detail: String? = nil, hint: String? = nil,
        mayHaveBeenExecuted: Bool = false
    ) {
        self.code = code
        self.message = message
        self.sqlState = sqlState
        self.detail = detail
        self.hint = hint
        self.mayHaveBeenExecuted = mayHaveBeenExecuted
    }

    package var description: String {
        var text = message
        if let sqlState { text += " (SQLSTATE \(sqlState))" }
        // With these states the detail is the row itself: what is in it is nobody's business who reads logs.
        if let detail, ![.notNullViolation, .checkViolation].contains(sqlState) { text += "; \(detail)" }
        if let hint { text += "; hint: \(hint)" }
        return text
    }

    /// Whether the same command may succeed later, unchanged: connection trouble (class 08), conflicts (40), resources
    /// (53), an operator's intervention (57), a lock that was not to be had (55P03), a read-only standby (25006).
    package var isRetriable: Bool {
        switch code {
        case .connectionFailed, .connectionLost: return true
        case .server:
            guard let sqlState else { return true }
            return ["08", "40", "53", "57", "58"].contains(sqlState.category)
                || [.lockNotAvailable, .readOnlyTransaction].contains(sqlState)
        default: return false
        }
    }

    /// Whether the server refuses the command because a policy may hide rows from the present role. The state is that of any missing
    /// right (42501), also of one that somebody's trigger raises; the words are in the server's language. So the function of the server
    /// tells that raised the error.
    package var isOfRowSecurity: Bool { sqlState == .insufficientPrivilege && raisedBy == "check_enable_rls" }

    /// The error a failed result carries.
    init(result: OpaquePointer) {
        func field(_ code: UInt8) -> String? {
            PQresultErrorField(result, Int32(code)).map { String(cString: $0) }
        }
        let state = field(UInt8(ascii: "C")).map(SQLState.init(rawValue:))
        // Without a SQLSTATE it is libpq that speaks, of a connection that is gone. Class 57P: the server ends it.
        let isLost = state == nil
        self.init(
            isLost ? .connectionLost : .server,
            field(UInt8(ascii: "M")) ?? PostgresError.trimmed(PQresultErrorMessage(result)),
            sqlState: state, detail: field(UInt8(ascii: "D")), hint: field(UInt8(ascii: "H")),
            mayHaveBeenExecuted: isLost || state?.endsSession == true)
        (table, column, constraint) = (field(UInt8(ascii: "t")), field(UInt8(ascii: "c")), field(UInt8(ascii: "n")))
        raisedBy = field(UInt8(ascii: "R"))
    }

    static func trimmed(_ text: UnsafePointer<CChar>?) -> String {
        guard let text else { return "unknown error" }
        var string = String(cString: text)
        while string.last?.isWhitespace == true { string.removeLast() }
        return string
    }
}
