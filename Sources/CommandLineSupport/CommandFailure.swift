/// What a command could not do although it was called rightly: told without the usage, with status 1.
public struct CommandFailure: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
