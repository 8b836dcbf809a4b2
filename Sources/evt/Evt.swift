import ArgumentParser

@main
struct Evt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt", abstract: "Looks after an event stream: its schema, its consumers, its events.",
        subcommands: [Migrate.self])
}
