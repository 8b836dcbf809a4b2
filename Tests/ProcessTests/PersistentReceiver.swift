import EventStream
import EventStreamClient
import TestSupport
import Testing

/// A consumer's receiver, which may begin anew without a memory of its own.
actor PersistentReceiver {
    nonisolated let name: String
    nonisolated let log = ReceivedLog()
    private let endpoints: [String]
    private let timeout: Duration
    private var receiver: ReliableReceiver?
    private var reading: Task<Void, Never>?

    /// - Parameter timeout: a pusher that does not answer for so long is given up.
    init(_ name: String, at endpoints: [String], timeout: Duration = .seconds(5)) {
        self.name = name
        self.timeout = timeout
        self.endpoints = endpoints
    }

    /// Receives while `body` runs, and has received then what was recorded meanwhile, in order of the ids.
    static func following(
        _ deployment: Deployment, at endpoints: [String]? = nil, timeout: Duration = .seconds(5),
        _ body: (PersistentReceiver) async throws -> Void
    ) async throws {
        try await deployment.noteTruth()
        // Before that nothing is kept for it.
        try await deployment.register("FOLLOWER")
        let receiver = PersistentReceiver(
            "FOLLOWER", at: endpoints ?? [deployment.environment["EVT_PUSHER_CONNECT"]!], timeout: timeout)
        try await receiver.start()
        let outcome: Result<Void, any Error>
        do {
            try await body(receiver)
            try await receiver.check(deployment, against: "truth")
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        await receiver.stop()
        try outcome.get()
    }

    func start() async throws {
        var configuration = ReceiverConfiguration(endpoints: endpoints)
        configuration.keepAlive = .milliseconds(300)
        configuration.sessionTimeout = timeout
        let receiver = try ReliableReceiver(name, configuration)
        let log = log
        await log.begin()
        reading = Task {
            for await batch in receiver.batches {
                await log.received(batch.events.map { Int($0.id.rawValue) })
                await batch.confirm()
            }
        }
        self.receiver = receiver
    }

    func stop() async {
        await receiver?.stop()
        await reading?.value
    }

    /// Waits for what is in a table, and compares.
    func check(_ deployment: Deployment, against table: String = "evt_queue") async throws {
        let committed = try await TestDatabase.rows("SELECT id FROM \(table) ORDER BY id", on: deployment.active)
            .map { Int($0[0]!)! }
        try await eventually("the last event for \(name)") { await log.newest == committed.last ?? 0 }
        let (received, wentBack) = (await log.firstOccurrences, await log.wentBack)
        // Not as a whole: a difference of lists this long says nothing.
        let different = zip(received, committed).first { $0 != $1 }
        let place = "\(name) differs from the committed at \(String(describing: different))"
        #expect(received.count == committed.count && different == nil, "\(place)")
        #expect(wentBack == [], "\(name)")
    }
}

/// What a consumer has got in all its lives.
actor ReceivedLog {
    private(set) var firstOccurrences: [Int] = []
    /// What came although something later had been confirmed in the same life.
    private(set) var wentBack: [Int] = []
    /// The longest time between two batches of a life.
    private(set) var longestGap = Duration.zero
    private var lastAt: ContinuousClock.Instant?
    private var known: Set<Int> = []
    private var confirmed = 0

    var newest: Int { firstOccurrences.last ?? 0 }

    func begin() { (confirmed, lastAt) = (0, nil) }

    func received(_ ids: [Int]) {
        if let lastAt { longestGap = max(longestGap, .now - lastAt) }
        lastAt = .now
        for id in ids {
            if id <= confirmed { wentBack.append(id) }
            if known.insert(id).inserted { firstOccurrences.append(id) }
        }
        confirmed = max(confirmed, ids.last ?? 0)
    }
}
