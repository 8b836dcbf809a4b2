import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamServer
import Foundation
import LibPQ

/// Drives a bank's transactions through a running pipeline, and checks every account's balance.
struct BankLoad: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "bank",
        abstract: "Runs pgbench's TPC-B transaction with an event in it, and rebuilds every balance from the stream.",
        discussion: """
            Needs a running pipeline, and pgbench in the PATH. It makes pgbench's tables anew in the active database. \
            The exit status is 0 if every figure agrees.
            """)

    static let settings = Settings.facts(of: .database, .archive, .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @Option(help: "How long to write; without it, until interrupted.") var seconds: Int?
    @Option(help: "pgbench's clients.") var clients = 8

    func run() async throws {
        let settings = try await flags.read()
        let bank = Bank(
            database: try settings.database(), archiveURL: try settings.archiveURL(), tables: try settings.archiveTables())
        var receiving = ReceiverConfiguration(endpoints: try settings.pusherConnect.list)
        receiving.precise = true
        let receiver = try ReliableReceiver("BALANCES", receiving)

        guard !holdsPassword(bank.database.url) else {
            throw ValidationError("pgbench would show the password in the process list; put it in ~/.pgpass")
        }
        print("preparing pgbench's tables")
        try await bank.prepare()
        let ledger = Ledger(after: try await bank.head())
        let reading = Task { for await batch in receiver.batches { await ledger.add(batch) } }

        print("writing with \(clients) clients" + (seconds.map { " for \($0) s" } ?? "; Ctrl-C ends it"))
        let progress = Task { await Self.report(ledger) }
        let writing = ContinuousClock.now
        try await bank.write(clients: clients, seconds: seconds)
        let written = ContinuousClock.now - writing
        progress.cancel()

        let committed = try await bank.committed()
        print("\(committed) transactions committed; waiting until the last event has arrived")
        await ledger.wait(for: committed)
        let verdict = try await bank.verdict(ledger, committed: committed)
        await receiver.stop()
        reading.cancel()
        try await bank.cleanUp()

        let latencies = await ledger.latencies
        print(
            """

            events                \(committed), \(Int(Double(committed) / written.inSeconds)) a second
            recorded to received  \(latencies) (the commit included)
            """)
        for line in verdict.lines { print(line) }
        print("\n\(verdict.summary)")
        guard verdict.isGood else { throw ExitCode.failure }
    }

    private static func report(_ ledger: Ledger) async {
        var last = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(5))
            let count = await ledger.count
            print("  received \(count) events, \((count - last) / 5) a second")
            last = count
        }
    }
}
