import EventStream
import TestSupport

@testable import EventStreamPusher

/// A whole stream in one thread: a database and its writers, pushers, receivers, an archiver, a discarder; all of it out of one
/// seed.
final class DeliveryWorld {
    let surroundings: Surroundings
    let oracle: Oracle
    let database: SimulatedDatabase
    let discarder: SimulatedDiscarder
    /// What one of the consumers archives into, in some worlds.
    private(set) var warehouse: SimulatedWarehouse?
    let configuration: SimulatedProcess.Configuration
    /// By endpoint; nil while nobody runs there.
    var pushers: [SimulatedProcess?]
    var restarts: [MonotonicTime?]
    /// Receivers, pollers and live receivers.
    private(set) var clients: [SimulatedClient] = []
    var receivers: [SimulatedReceiver] { clients.compactMap { $0 as? SimulatedReceiver } }
    private(set) var links: [SimulatedLink] = []
    var lastRun: Int64 = 0
    private var lastLink = 0
    /// Nobody polls underneath a sleep: whoever is not woken sleeps for ever.
    let isStrict: Bool
    private var isWindingDown = false

    init(seed: UInt64, fault: PlantedFault? = nil, isTracing: Bool = false) {
        surroundings = Surroundings(seed: seed, fault: fault, isTracing: isTracing)
        isStrict = surroundings.chance(25)
        configuration = DeliveryWorld.configuration(isStrict: isStrict, &surroundings.random)
        let wanted = [[true, true, true], [true, false, false], [false, false, true], [false, true, true]]
        let count = surroundings.random.pick(3...4)
        surroundings.polls = surroundings.chance(30) ? 1 : 0
        surroundings.live = surroundings.chance(40) ? 1 : 0
        let receiving = count - surroundings.polls
        oracle = Oracle(
            surroundings,
            wanted.prefix(count).enumerated().map {
                .init(
                    wanted: $1, slice: SimulatedDatabase.identity(of: $0).component.slice, isExact: $0 % 3 == 0 && $0 < receiving)
            })
        database = SimulatedDatabase(surroundings, DeliveryWorld.habits(isStrict: isStrict, &surroundings.random), oracle)
        discarder = SimulatedDiscarder(surroundings, database)
        let pusherCount = isStrict ? 1 : surroundings.random.pick(2...3)
        pushers = Array(repeating: nil, count: pusherCount)
        restarts = Array(repeating: surroundings.now, count: pusherCount)
        database.meanwhile = { [unowned self] in if self.surroundings.chance(20) { self.write() } }
        // One of those that do not keep what they have processed by themselves.
        surroundings.archivers = surroundings.chance(30) ? surroundings.chance(30) ? 2 : 1 : 0
        if surroundings.archivers > 0 { warehouse = SimulatedWarehouse(surroundings, database, oracle) }
        surroundings.hasArchive = surroundings.chance(50)
        if surroundings.hasArchive, surroundings.chance(60) { surroundings.maxLag = Int64(surroundings.random.pick(5...200)) }
        if surroundings.chance(40) {
            surroundings.maxAttempts = surroundings.random.pick(1...3)
            surroundings.parksKeys = surroundings.chance(70)
        }
        populate(count)
    }

    /// Of the consumers the last may be one that polls; and somebody may listen live.
    private func populate(_ count: Int) {
        let connect = { [unowned self] in self.connect($0, peer: $1, endpoint: $2) }
        for consumer in 0..<(count - surroundings.polls) {
            guard let warehouse, warehouse.consumer == consumer else {
                clients.append(SimulatedReceiver(consumer, surroundings, oracle, connect: connect))
                continue
            }
            let asker = SimulatedAsker(surroundings, oracle, connect: connect)
            clients.append(asker)
            // Of two archivers of one name one stands by.
            for _ in 0..<surroundings.archivers {
                clients.append(SimulatedArchiver(warehouse, asking: asker, surroundings, oracle, connect: connect))
            }
        }
        if surroundings.polls > 0 { clients.append(SimulatedPoller(count - 1, surroundings, oracle, connect: connect)) }
        if surroundings.live > 0 {
            let wanted = surroundings.chance(50) ? [true, true, true] : [false, true, true]
            clients.append(SimulatedLiveReceiver(wanting: wanted, surroundings, oracle, connect: connect))
        }
    }

    private static func habits(isStrict: Bool, _ random: inout SplitMix) -> SimulatedQueue.Habits {
        var habits = SimulatedQueue.Habits()
        habits.writers = random.pick(1...6)
        habits.rollbacksInHundred = random.pick(0...40)
        habits.preparesInHundred = random.chance(40) ? random.pick(5...50) : 0
        habits.renamesPrepared = random.chance(50)
        habits.rowsAtOnce = random.pick(1...12)
        habits.jumpsInHundred = random.chance(50) ? random.pick(1...10) : 0
        habits.leaps = random.chance(30)
        habits.types = [70, 25, 5]
        habits.notifies = isStrict || habits.preparesInHundred == 0 || random.chance(50)
        return habits
    }

    private static func configuration(isStrict: Bool, _ random: inout SplitMix) -> SimulatedProcess.Configuration {
        var configuration = SimulatedProcess.Configuration()
        configuration.pusher.sessionTimeout = .milliseconds(1500)
        configuration.pusher.drainTimeout = .milliseconds(200)
        configuration.pusher.windowBytes = random.pick(300...3000)
        configuration.pusher.groupLimits = GroupLimits(events: random.pick(1...6), bytes: random.pick(150...1200))
        configuration.pusher.delivery = .init(
            requestMax: random.pick(1...4), ackTimeout: .milliseconds(random.pick(300...1500)), errorPause: .milliseconds(20),
            longestErrorPause: .milliseconds(300))
        configuration.headLimits = (rows: random.pick(2...16), bytes: random.pick(300...3000))
        configuration.longestScan = Int64(random.pick(3...60))
        configuration.pusher.head.latch = .init(
            shortestPause: .milliseconds(1), longestPause: .milliseconds(20),
            longestSleep: isStrict ? .seconds(86_400) : .milliseconds(random.pick(100...1000)))
        return configuration
    }

    // MARK: Links

    private func connect(_ receiver: SimulatedClient, peer: Int, endpoint: Int) -> SimulatedLink {
        lastLink += 1
        let link = SimulatedLink(peer: peer, number: lastLink, receiver: receiver, pusher: endpoint % pushers.count)
        links.append(link)
        return link
    }

    /// Something happens on a connection.
    private func step(_ link: SimulatedLink) -> Bool {
        let pusher = pushers[link.pusher]
        let isAwake = pusher.map { $0.frozenUntil == nil } ?? false
        if link.isCutByPusher || (link.isCutByReceiver && !link.isUp) {
            // Nobody reads what is left at the other end.
            links.removeAll { $0 === link }
            if !link.isCutByReceiver { link.receiver?.reset() }
            return true
        }
        guard let pusher else { return false }
        guard link.isUp else {
            guard isAwake else { return false }
            link.isUp = true
            pusher.peers.links.append(link)
            link.receiver?.connected()
            return true
        }
        if !link.toReceiver.isEmpty, !link.isCut, !isAwake || surroundings.chance(50) {
            link.receiver?.received(link.toReceiver.removeFirst())
            return true
        }
        guard isAwake else { return false }
        if link.isCut, !link.isNoticed, link.toPusher.isEmpty || surroundings.chance(30) {
            link.isNoticed = true
            // The peer may have been heard over a newer connection.
            if pusher.peers.links.contains(where: { $0 === link }) { pusher.disconnected(link) }
            return true
        }
        guard link.toPusher.isEmpty else {
            pusher.received(link.toPusher.removeFirst(), over: link)
            return true
        }
        guard link.isCut else { return false }
        links.removeAll { $0 === link }
        pusher.peers.links.removeAll { $0 === link }
        return true
    }

    // MARK: Steps

    /// The first of them, from a random one on, that has something to do.
    private func any<Element>(_ elements: [Element], _ act: (Element) -> Bool) {
        guard !elements.isEmpty else { return }
        var index = surroundings.random.below(elements.count)
        for _ in elements {
            if act(elements[index]) { return }
            index += 1
            if index == elements.count { index = 0 }
        }
    }

    func step() -> String? {
        surroundings.steps += 1
        switch surroundings.random.below(100) {
        case 0..<18:
            // Mostly little happens between two statements, now and then a lot.
            for _ in 0..<(surroundings.chance(4) ? surroundings.random.below(30) : 1) { write() }
        case 18..<51: any(connections) { act(on: $0) }
        case 51..<71: any(links) { step($0) }
        case 71..<81: runTimers()
        case 81..<91:
            any(clients) { client in
                guard client.hasWork else { return false }
                client.step()
                return true
            }
        case 91..<93: discarder.step()
        case 93..<99: passTime()
        default: if surroundings.hasTrouble { makeTrouble() }
        }
        return surroundings.violation
    }

    private func write() {
        if isWindingDown { database.queue.windDown(&surroundings.random) } else { database.queue.step(&surroundings.random) }
        if database.queue.hasNews { database.announce() }
    }

    private var connections: [SimulatedConnection] { database.connections + (warehouse?.connections ?? []) }

    private func act(on connection: SimulatedConnection) -> Bool {
        // Where nobody polls, a connection nobody is at must not keep the latch, or the waking role.
        if isStrict { for left in database.connections where !left.isOpen && left.isServed { database.kill(left) } }
        let canArrive = connection.hasArrivals && isAwake(connection)
        guard connection.hasWork, !canArrive || surroundings.chance(50) else {
            guard canArrive else { return false }
            connection.receive()
            return true
        }
        if let warehouse, warehouse.owns(connection) { warehouse.serve(connection) } else { database.serve(connection) }
        return true
    }

    /// The process at the connection's other end is not frozen.
    private func isAwake(_ connection: SimulatedConnection) -> Bool {
        for case let pusher? in pushers where pusher.frozenUntil != nil && pusher.owns(connection) { return false }
        return true
    }

    private func runTimers() {
        let now = surroundings.now
        for endpoint in pushers.indices {
            if let due = restarts[endpoint], due <= now { start(endpoint) }
            guard let pusher = pushers[endpoint] else { continue }
            if let due = pusher.frozenUntil, due <= now { pusher.frozenUntil = nil }
            if pusher.frozenUntil == nil { _ = pusher.timers.fire(at: now) }
            if pusher.hasStopped { end(endpoint) }
        }
        for client in clients { _ = client.timers.fire(at: now) }
    }

    private func passTime() {
        if surroundings.chance(80) { return surroundings.now += .microseconds(surroundings.random.below(12_000)) }
        // Nobody waits for long where nothing is to be done.
        guard !connections.contains(where: { $0.hasWork || $0.hasArrivals }), let next = nextTimer,
            next > surroundings.now
        else { return surroundings.now += surroundings.milliseconds(0...60) }
        surroundings.now = min(next, surroundings.now + .seconds(2))
    }

    private var nextTimer: MonotonicTime? {
        var next = discarder.next
        func add(_ time: MonotonicTime?) { if let time, next.map({ time < $0 }) ?? true { next = time } }
        for endpoint in pushers.indices {
            add(restarts[endpoint])
            guard let pusher = pushers[endpoint] else { continue }
            add(pusher.frozenUntil ?? pusher.timers.next)
        }
        for client in clients { add(client.timers.next) }
        return next
    }

    // MARK: From beginning to end

    /// What is still to be done; nil if all is well.
    private var remainder: String? {
        if let dead = pushers.first(where: { $0?.isGivenUp ?? true }) { return "pusher \(dead?.run ?? 0) shows no sign of life" }
        return oracle.remainder(database.consumers) ?? warehouse?.remainder ?? database.parkedRemainder
    }

    /// Steps of a world, about: three rounds, each with its time to settle.
    static let steps = 17_000
    private static let rounds = 3
    private static let stepsARound = 1800
    /// Whoever an operator has set back to the first event may read all of it, an event at a time.
    private static let stepsToSettle = 100_000

    /// - Returns: what was broken, or nil.
    func run() -> String? {
        defer {
            database.tearDown()
            warehouse?.tearDown()
        }
        for _ in 0..<DeliveryWorld.rounds {
            (surroundings.hasTrouble, isWindingDown) = (true, false)
            for _ in 0..<DeliveryWorld.stepsARound { if let broken = step() { return broken } }
            if let broken = settle() { return broken }
        }
        return nil
    }

    /// Without further trouble everything must come to an end.
    private func settle() -> String? {
        endTrouble()
        isWindingDown = true
        surroundings.note("writers wind down, and there is no more trouble")
        for turn in 0..<DeliveryWorld.stepsToSettle {
            if let broken = step() { return broken }
            if turn % 16 == 0, database.queue.isQuiet, remainder == nil { return nil }
        }
        guard let remainder else { return nil }
        for case let pusher? in pushers { surroundings.note(pusher.summary) }
        return "after \(surroundings.steps) steps, \(remainder)"
    }
}
