import LibPQ
import PosixLoop
import TestSupport
import Testing

@Suite(.serialized) struct PersistentConnectionTests {
    @Test func itOpensPreparesAndTells() async throws {
        try await withKeeper { keeper, owner, _ in
            #expect(keeper.current == nil)
            keeper.start()
            keeper.start()
            try await eventually("the connection is open") { keeper.current != nil }
            #expect(owner.history.entries == ["prepare", "opened"])
            #expect(keeper.reconnects == 0)
            let prepared = try await keeper.current?.value("SELECT current_setting('evt.prepared')")
            #expect(prepared == "yes")
        }
    }

    @Test func itReconnectsAfterTheBackendWasTerminated() async throws {
        try await withKeeper { keeper, owner, url in
            keeper.start()
            for round in 1...3 {
                try await eventually("the connection is open") { keeper.current != nil }
                let processID = keeper.current?.backendProcessID ?? 0
                try await TestDatabase.execute("SELECT pg_terminate_backend(\(processID))", on: url)
                try await eventually("a new connection is open") {
                    keeper.current.map { $0.backendProcessID != processID } ?? false
                }
                #expect(keeper.reconnects == round)
            }
            let rounds = (0..<3).flatMap { _ in ["failed", "prepare", "opened"] }
            #expect(owner.history.entries == ["prepare", "opened"] + rounds)
            // Each loss followed a success, so each pause is a first one.
            #expect(owner.pauses.entries.allSatisfy { $0 <= .milliseconds(1) })
            let errors = owner.errors.entries.map { ($0 as? PostgresError)?.code }
            #expect(errors == [.connectionLost, .connectionLost, .connectionLost])
        }
    }

    @Test func pausesGrowWhileTheServerIsAway() async throws {
        try await onLoop { loop in
            let server = LocalServer(.refusing, on: loop)
            let keeper = PersistentConnection(
                ConnectionOptions("host=127.0.0.1 port=\(server.port) user=me"), on: loop,
                backoff: Backoff(first: .milliseconds(1), longest: .milliseconds(20)))
            let owner = Owner()
            keeper.delegate = owner
            keeper.start()
            try await eventually("eight attempts have failed") { owner.pauses.count >= 8 }
            keeper.stop()
            for (pause, full) in zip(owner.pauses.entries, [1, 2, 4, 8, 16, 20, 20, 20]) {
                #expect(pause <= .milliseconds(full) && pause >= .milliseconds(full) * 0.69)
            }
            #expect(owner.history.entries.allSatisfy { $0 == "failed" })
        }
    }

    @Test func aPreparationThatFailsIsAFailedAttempt() async throws {
        try await withKeeper { keeper, owner, _ in
            owner.refusals = 3
            keeper.start()
            try await eventually("the connection is open") { keeper.current != nil }
            let refused = (0..<3).flatMap { _ in ["prepare", "failed"] }
            #expect(owner.history.entries == refused + ["prepare", "opened"])
            #expect(owner.errors.entries.allSatisfy { $0 is Owner.Refused })
            for (pause, full) in zip(owner.pauses.entries, [1, 2, 4]) {
                #expect(pause <= .milliseconds(full) && pause >= .milliseconds(full) * 0.69)
            }
        }
    }

    @Test func aConnectionLostWhileItIsPreparedIsAFailedAttempt() async throws {
        try await withKeeper { keeper, owner, url in
            owner.onPrepare = { connection in
                guard owner.history.count == 1 else { return }
                let processID = connection.backendProcessID
                try await TestDatabase.execute("SELECT pg_terminate_backend(\(processID))", on: url)
                try await eventually("the loss is noticed") { !connection.isOpen }
            }
            keeper.start()
            try await eventually("the connection is open") { keeper.current != nil }
            #expect(owner.history.entries == ["prepare", "failed", "prepare", "opened"])
        }
    }

    @Test func aConnectionGivenUpIsReplaced() async throws {
        try await withKeeper { keeper, owner, _ in
            keeper.start()
            try await eventually("the connection is open") { keeper.current != nil }
            let first = keeper.current
            keeper.restart(because: Owner.Refused())
            #expect(first?.isOpen == false)
            #expect(keeper.current == nil)
            try await eventually("a new connection is open") { keeper.current != nil }
            #expect(keeper.current !== first)
            #expect(owner.history.entries == ["prepare", "opened", "failed", "prepare", "opened"])
            #expect(owner.errors.entries.first is Owner.Refused)
        }
    }

    @Test func stoppedWhileOpenItStaysStopped() async throws {
        try await withKeeper { keeper, owner, _ in
            keeper.start()
            try await eventually("the connection is open") { keeper.current != nil }
            let connection = keeper.current
            keeper.stop()
            #expect(connection?.isOpen == false)
            try await Self.expectStopped(keeper, owner)
        }
    }

    @Test func stoppedWhileConnectingItStaysStopped() async throws {
        try await withKeeper { keeper, owner, _ in
            keeper.start()
            keeper.stop()
            try await Self.expectStopped(keeper, owner)
            #expect(owner.history.count == 0)
        }
    }

    @Test func stoppedWhileConnectingItDoesNotWaitForTheServer() async throws {
        try await onLoop { loop in
            let server = LocalServer(.silent, on: loop)
            weak var observed: PersistentConnection?
            do {
                let keeper = PersistentConnection(
                    ConnectionOptions("host=127.0.0.1 port=\(server.port) user=me sslmode=disable"), on: loop)
                observed = keeper
                keeper.start()
                keeper.stop()
            }
            #expect(observed == nil)
        }
    }

    @Test func stoppedWhilePausingItStaysStopped() async throws {
        try await withKeeper { keeper, owner, _ in
            owner.refusals = .max
            owner.onFailure = { keeper.stop() }
            keeper.start()
            try await eventually("an attempt has failed") { owner.errors.count == 1 }
            try await Self.expectStopped(keeper, owner)
            #expect(owner.history.entries == ["prepare", "failed"])
        }
    }

    @Test func stoppedWhilePreparingItClosesTheNewConnection() async throws {
        try await withKeeper { keeper, owner, _ in
            let seen = Log<Connection>()
            owner.onPrepare = { connection in
                keeper.stop()
                seen.add(connection)
            }
            keeper.start()
            try await eventually("the new connection is closed") { seen.entries.first?.isOpen == false }
            try await Self.expectStopped(keeper, owner)
            #expect(owner.history.entries == ["prepare"])
        }
    }

    /// Starts it again in vain, and lets more time pass on the loop than any pause takes.
    private static func expectStopped(
        _ keeper: PersistentConnection, _ owner: Owner, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let before = owner.history.count
        keeper.start()
        keeper.restart(because: Owner.Refused())
        keeper.stop()
        let passed = Log<Void>()
        owner.loop?.schedule(after: .milliseconds(100)) { passed.add(()) }
        try await eventually("the longest pause has passed") { passed.count == 1 }
        #expect(owner.history.count == before, sourceLocation: sourceLocation)
        #expect(keeper.current == nil, sourceLocation: sourceLocation)
    }
}

/// Runs `body` with a keeper that has not been started, its owner, and the connection string of its database.
private func withKeeper(
    _ body: nonisolated(nonsending) @Sendable (PersistentConnection, Owner, String) async throws -> Void
) async throws {
    try await TestDatabase.with(.empty) { url in
        try await onLoop { loop in
            let keeper = PersistentConnection(
                ConnectionOptions(url), on: loop,
                backoff: Backoff(first: .milliseconds(1), longest: .milliseconds(20)))
            let owner = Owner()
            owner.loop = loop
            keeper.delegate = owner
            defer {
                keeper.stop()
                owner.letGo()
            }
            try await body(keeper, owner, url)
        }
    }
}

private final class Owner: PersistentConnectionDelegate {
    struct Refused: Error {}

    let history = Log<String>()
    let errors = Log<any Error>()
    let pauses = Log<Duration>()
    /// Preparations to refuse before one succeeds.
    var refusals = 0
    var onPrepare: ((Connection) async throws -> Void)?
    var onFailure: (() -> Void)?
    var loop: EventLoop?

    func letGo() {
        onPrepare = nil
        onFailure = nil
    }

    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        history.add("prepare")
        connection.loop.assertOnLoop()
        if refusals > 0 {
            refusals -= 1
            throw Refused()
        }
        try await connection.query("SET evt.prepared = 'yes'")
        try await onPrepare?(connection)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) { history.add("opened") }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        history.add("failed")
        errors.add(error)
        pauses.add(pause)
        onFailure?()
    }
}
