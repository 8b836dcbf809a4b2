/// The five-character SQLSTATE of a server error (PostgreSQL manual, appendix A); open, as functions may raise any.
package struct SQLState: RawRepresentable, Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package init(stringLiteral value: String) { rawValue = value }
    package var description: String { rawValue }

    /// The first two characters: what kind of error it is.
    package var category: String { String(rawValue.prefix(2)) }
    /// Whether the server ends the session: an administrator did, it shuts down, it crashed, it does not take connections.
    package var endsSession: Bool { rawValue.hasPrefix("57P") }

    // The manual's names.
    package static let featureNotSupported: SQLState = "0A000"
    package static let stringTooLong: SQLState = "22001"
    package static let numericValueOutOfRange: SQLState = "22003"
    package static let characterNotInRepertoire: SQLState = "22021"
    package static let invalidTextRepresentation: SQLState = "22P02"
    package static let untranslatableCharacter: SQLState = "22P05"
    package static let notNullViolation: SQLState = "23502"
    package static let uniqueViolation: SQLState = "23505"
    package static let checkViolation: SQLState = "23514"
    package static let readOnlyTransaction: SQLState = "25006"
    package static let inFailedTransaction: SQLState = "25P02"
    package static let invalidStatementName: SQLState = "26000"
    package static let deadlockDetected: SQLState = "40P01"
    package static let insufficientPrivilege: SQLState = "42501"
    package static let undefinedObject: SQLState = "42704"
    package static let undefinedFunction: SQLState = "42883"
    package static let diskFull: SQLState = "53100"
    package static let programLimitExceeded: SQLState = "54000"
    package static let statementTooComplex: SQLState = "54001"
    package static let objectNotInPrerequisiteState: SQLState = "55000"
    package static let lockNotAvailable: SQLState = "55P03"
    package static let ioError: SQLState = "58030"
}
