import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamServer

/// Drives every kind of transaction past every kind of listener, and compares what each got with what was committed.
struct MixLoad: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "mix",
        abstract: "Mixes every kind of transaction for every kind of listener, and compares what came with the table.",
        discussion: """
            Needs a running pusher, and rights to register consumers and to make a table in the active database. Events are kept \
            from the discarder while it runs. The exit status is 0 if nothing was lost, doubled or out of order, and an unrelated \
            open transaction adds no delay.
            """)

    static let settings = Settings.facts(of: .database, .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @Option(help: "How many write at once, each on a connection of its own.") var writers = 16
    @Option(help: "How long to write; two quiet phases of 5 s follow.") var seconds = 60
    @Option(help: "Chooses the transactions; at random without it.") var seed: UInt64?
    @Option(help: "Milliseconds that an unrelated transaction may add at most; more where the machine is busy.")
    var delayLimit = 50.0

    func validate() throws {
        guard (1...1000).contains(writers), seconds > 0 else {
            throw ValidationError("--writers must be 1 to 1000, --seconds more than 0")
        }
    }

    func run() async throws {
        let settings = try await flags.read()
        let (pusher, live) = (try settings.pusherConnect.list, try settings.liveConnect.list)
        let interruption = Interruption()
        let watching = await interruption.watch()
        defer { watching.cancel() }

        let stage = try await Stage.prepare(try settings.database())
        let seed = seed ?? .random(in: 0...UInt64(UInt32.max))
        print("seed \(seed)")
        if live.isEmpty { print("subscribers left out: there is no broadcast") }
        let mix = Mix(
            stage: stage, listening: Listening.everyone(after: stage.start, pusher: pusher, live: live), writers: writers,
            seconds: seconds, seed: seed, delayLimit: delayLimit, interruption: interruption)
        let outcome: Result<Verdict, any Error>
        do {
            outcome = .success(try await mix.run())
        } catch {
            outcome = .failure(error)
        }
        try await stage.cleanUp()
        let verdict = try outcome.get()
        for line in verdict.lines { print(line) }
        print("\n\(verdict.summary)")
        guard verdict.isGood else { throw ExitCode.failure }
    }
}
