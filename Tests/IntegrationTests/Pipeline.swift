import EventStream
import EventStreamArchiver
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import EventStreamServices
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle
import TestSupport

/// A stream with databases of its own, and the roles that serve it, in this process, over unix sockets. Each logs in as a role
/// that may do no more than it needs.
struct Pipeline: TestStream {
    let active: String
    let warehouse: String
    let directory: String

    var generatorEndpoint: String { "ipc://\(directory)/gen" }
    var pusherEndpoint: String { "ipc://\(directory)/push" }
    var liveEndpoint: String { "ipc://\(directory)/live" }

    enum Role: CaseIterable { case generator, pusher, archiver, discarder }

    /// Runs `body` while the roles run.
    static func with(
        _ roles: Set<Role> = [.generator, .pusher], configure: (inout Pusher.Configuration) -> Void = { _ in },
        _ body: (Pipeline) async throws -> Void
    ) async throws {
        try await TestDatabase.withStream { active, warehouse in
            try await ScratchDirectory.with { directory in
                let pipeline = Pipeline(active: active, warehouse: warehouse, directory: directory)
                try await pipeline.run(roles, configure: configure) { try await body(pipeline) }
            }
        }
    }

    /// Runs the roles, again or for the first time, while `body` runs.
    func run(
        _ roles: Set<Role>, configure: (inout Pusher.Configuration) -> Void = { _ in },
        archiver: (inout Archiver.Configuration) -> Void = { _ in },
        discarder: (inout Discarder.Configuration) -> Void = { _ in }, _ body: () async throws -> Void
    ) async throws {
        func database(_ login: TestLogin) -> DatabaseConfiguration { .init(url: TestDatabase.url(active, as: login)) }
        var pusher = Pusher.Configuration(
            database: database(.pusher), bind: Endpoints([pusherEndpoint]), liveBind: Endpoints([liveEndpoint]))
        pusher.head.latch.longestSleep = .milliseconds(200)
        configure(&pusher)
        var archiving = Archiver.Configuration(
            url: TestDatabase.url(warehouse, as: .archiver), connect: Endpoints([pusherEndpoint]))
        archiver(&archiving)
        var discarding = Discarder.Configuration(database: database(.discarder))
        discarding.pollPeriod = .milliseconds(100)
        discarder(&discarding)
        let app = EventStreamApp(
            generator: roles.contains(.generator)
                ? .init(bind: Endpoints([generatorEndpoint]), database: database(.generator)) : nil,
            pusher: roles.contains(.pusher) ? pusher : nil,
            archiver: roles.contains(.archiver) ? archiving : nil,
            discarder: roles.contains(.discarder) ? discarding : nil,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { try await app.run() }
        let outcome: Result<Void, any Error>
        do {
            // A machine that is busy may need longer than a call waits for the database; where it is not there, bodies go on.
            for monitor in app.monitors where [.generator, .pusher].contains(monitor.role) {
                _ = try? await eventually("the \(monitor.role)", within: .seconds(60)) { await monitor.readiness().isReady }
            }
            outcome = .success(try await body())
        } catch {
            outcome = .failure(error)
        }
        running.cancel()
        _ = await running.result
        try outcome.get()
    }

    func poller() async throws -> PollClient { try await PollClient([pusherEndpoint]) }
    func generator() async throws -> GeneratorClient { try await GeneratorClient([generatorEndpoint]) }

    func receiver(
        _ component: String, want: [String]? = nil, loop: EventLoop = .clients,
        configure: (inout ReceiverConfiguration) -> Void = { _ in }
    ) throws -> ReliableReceiver {
        var configuration = ReceiverConfiguration(endpoints: [pusherEndpoint], want: try EventFilter(types: want))
        configure(&configuration)
        return try ReliableReceiver(component, configuration, loop: loop)
    }

    /// Records events with `evt_add`, one transaction, and returns their ids.
    @discardableResult
    func record(_ type: String, _ data: [String] = ["null"]) async throws -> [EventID] {
        try await TestDatabase.connected(to: TestDatabase.url(active, as: .app)) { connection in
            let rows = try await connection.query(
                "SELECT evt_add($1, d::json) FROM unnest($2::text[]) WITH ORDINALITY AS x (d, n) ORDER BY n",
                [.text(type), .strings(data)])
            return (0..<rows.count).map { EventID(rows.int($0, 0) ?? 0) }
        }
    }

    /// Who holds the stream back.
    func openWriters() async throws -> [OpenWriter] {
        try await TestDatabase.connected(to: active) { connection in
            try await OpenWriter.load(.standard, from: connection)
        }
    }

    /// The archive of a component that must hold events before they go.
    func required(_ component: String = "ARCHIVER") -> RequiredArchive {
        RequiredArchive(
            consumer: ConsumerIdentity(component: ConsumerComponent(component)!),
            url: TestDatabase.url(warehouse, as: .discarder))
    }

    /// What `evt archive verify` finds.
    func verify(
        _ component: String = "ARCHIVER", from first: EventID = EventID(1), through last: EventID = EventID(.max)
    ) async throws -> (findings: [ArchiveVerifier.Finding], summary: ArchiveVerifier.Summary) {
        try await TestDatabase.connected(to: TestDatabase.url(active, as: .monitor)) { connection in
            let other = try await Connection.open(TestDatabase.url(warehouse, as: .monitor), on: connection.loop)
            defer { other.close() }
            let info = try await StreamInfo.load(.standard, from: connection)
            let history = try await HistoryStore.load(.standard, archiver: required(component).consumer, from: other)
            var findings: [ArchiveVerifier.Finding] = []
            let summary = try await ArchiveVerifier(info, history).verify(
                from: first, through: last, active: connection, warehouse: other
            ) { findings.append($0) }
            return (findings, summary)
        }
    }

    /// Why confirmed events are kept.
    func refusal() async throws -> String? {
        try await TestDatabase.rows("SELECT refusal FROM evt_queue_state", on: active)[0][0]
    }
}

/// Collects what a receiver gets.
actor Collector {
    private(set) var events: [Event] = []
    /// What the receiver said went wrong.
    private(set) var errors: [EventStreamError] = []
    func add(_ more: [Event]) { events += more }
    func failed(_ error: EventStreamError) { errors.append(error) }
    var ids: [EventID] { events.map(\.id) }
    var count: Int { events.count }

    /// Receives and confirms until `count` events are here.
    static func collect(_ count: Int, from receiver: ReliableReceiver) async -> [Event] {
        var events: [Event] = []
        guard count > 0 else { return [] }
        for await batch in receiver.batches {
            events += batch.events
            await batch.confirm()
            if events.count >= count { break }
        }
        return events
    }
}
