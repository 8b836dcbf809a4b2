/// What a command could not do although it was called rightly: told without the usage, with status 1.
package struct CommandFailure: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
