import ArgumentParser

/// Drives load through a running pipeline and checks that nobody who listens is told anything wrong.
@main
struct Load: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-load",
        abstract: "Drives load through a running pipeline, and checks what arrives.",
        subcommands: [BankLoad.self, MixLoad.self], defaultSubcommand: BankLoad.self)
}
