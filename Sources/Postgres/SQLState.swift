/// The five-character SQLSTATE of a server error (PostgreSQL manual, appendix A); open, as functions may raise any.
public struct SQLState: RawRepresentable, Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public init(stringLiteral value: String) { rawValue = value }
    public var description: String { rawValue }

    /// The first two characters: what kind of error it is.
    public var category: String { String(rawValue.prefix(2)) }
    /// Whether the server ends the session: an administrator did, it shuts down, it crashed, it does not take connections.
    public var endsSession: Bool { rawValue.hasPrefix("57P") }

    // The manual's names.
    public static let featureNotSupported: SQLState = "0A000"
    public static let numericValueOutOfRange: SQLState = "22003"
    public static let characterNotInRepertoire: SQLState = "22021"
    public static let invalidTextRepresentation: SQLState = "22P02"
    public static let untranslatableCharacter: SQLState = "22P05"
    public static let notNullViolation: SQLState = "23502"
    public static let uniqueViolation: SQLState = "23505"
    public static let checkViolation: SQLState = "23514"
    public static let readOnlyTransaction: SQLState = "25006"
    public static let inFailedTransaction: SQLState = "25P02"
    public static let invalidStatementName: SQLState = "26000"
    public static let insufficientPrivilege: SQLState = "42501"
    public static let undefinedObject: SQLState = "42704"
    public static let undefinedFunction: SQLState = "42883"
    public static let diskFull: SQLState = "53100"
    public static let programLimitExceeded: SQLState = "54000"
    public static let statementTooComplex: SQLState = "54001"
    public static let objectNotInPrerequisiteState: SQLState = "55000"
    public static let lockNotAvailable: SQLState = "55P03"
    public static let ioError: SQLState = "58030"
}
