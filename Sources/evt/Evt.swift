import ArgumentParser
import CommandLineSupport

@main
struct Evt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt", abstract: "Looks after an event stream: its schema, its consumers, its events.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.",
        subcommands: [
            Migrate.self, Add.self, Tail.self, Poll.self, Consumers.self, Parked.self, Status.self, Top.self, Doctor.self,
            History.self, Archive.self, Generation.self, Inbox.self, Keygen.self, Serve.self, Docs.self,
        ])

    static func main() async {
        await runCommand(Self.self, isService: CommandLine.arguments.dropFirst().first == "serve")
    }
}
