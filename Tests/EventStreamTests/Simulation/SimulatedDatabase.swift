import EventStream
import EventStreamDatabase
import EventStreamPusher

/// The database of a simulated world: what each statement does to it, at once.
final class SimulatedDatabase {
    struct Consumer {
        let identity: ConsumerIdentity
        var isRegistered = false
        var position: Int64 = 0
        var owner: Int64?
        var epoch: Int64 = 0
        /// Up to here this generation and earlier ones have the same events for it.
        var began: Int64 = 0
        var isPaused = false
        /// Nothing beyond it is delivered.
        var barrier: Int64?
        /// The event that failed last.
        var failing: Attempts.Failing?
        var takesParked = false
        var parked: [(row: SimulatedQueue.Row, generation: String, isRetried: Bool)] = []
    }

    struct Pusher {
        let id: Int64
        var beat: Int64 = 0
        var interval = Duration.seconds(1)
    }

    /// What is on disk, and on a standby when it has received it.
    struct Contents {
        var queue: SimulatedQueue
        var consumers: [Consumer]
        var pushers: [Pusher] = []
        var settled: Int64 = 0
        var discarded: Int64 = 0
        /// Which generation of the stream it holds, and where it was when that began.
        var generation = StreamGeneration(stream: "S", id: "1", start: .none)
        var noted: StreamPlace?
    }

    private let surroundings: Surroundings
    let oracle: Oracle
    private var contents: Contents
    var queue: SimulatedQueue {
        get { contents.queue }
        _modify { yield &contents.queue }
    }
    private(set) var consumers: [Consumer] {
        get { contents.consumers }
        _modify { yield &contents.consumers }
    }
    private var pushers: [Pusher] {
        get { contents.pushers }
        _modify { yield &contents.pushers }
    }
    private var settled: Int64 {
        get { contents.settled }
        set { contents.settled = newValue }
    }
    private(set) var discarded: Int64 {
        get { contents.discarded }
        set { contents.discarded = newValue }
    }
    private var generation: StreamGeneration {
        get { contents.generation }
        set { contents.generation = newValue }
    }
    /// What a standby has received.
    private var standby: Contents?
    /// The clock and chance see to it that none comes twice, whatever a standby knows: generations, and where the last one began.
    private var generations = 1
    private var lastLeap: Int64 = 0
    private(set) var connections: [SimulatedConnection] = []
    private var lastConnection = 0
    /// The discarder's locks: nobody registers meanwhile, and the row of the stream's state is its own.
    var isDiscarding = false
    var isStateLocked = false
    /// Lets writers go on in the middle of a statement.
    var meanwhile: () -> Void = {}
    // Session locks: who holds them, and how often it took them.
    private var latch: (holder: Int, depth: Int)?
    private var waker: Int?
    private var signsOfLife: [(pusher: Int64, connection: Int)] = []
    /// A row policy has been made: rather than hide rows the server refuses every statement.
    var hasPolicy = false
    /// What was seen of the pushers since a consumer was stopped, by its number.
    private var watches: [Int: [Int64: PusherWatch]] = [:]
    /// How often data was erased: pushers read everything anew then.
    var erasures: Int64 = 0
    /// Tokens of warehouses: what is known here is known wherever the stream goes on.
    private var tokens: Set<String> = []
    /// How far the archive has come, and in which generation.
    private lazy var archived = (generation: generation, through: discarded)
    /// The real ones grow by random numbers: none comes twice.
    private var lastEpoch: Int64 = 0

    init(_ surroundings: Surroundings, _ habits: SimulatedQueue.Habits, _ oracle: Oracle) {
        self.surroundings = surroundings
        self.oracle = oracle
        contents = Contents(
            queue: SimulatedQueue(habits),
            consumers: oracle.consumers.indices.map { Consumer(identity: SimulatedDatabase.identity(of: $0)) })
    }

    /// One of them is a slice.
    static let identities = (0..<8).map { number in
        ConsumerIdentity(component: ConsumerComponent("C\(number)")!.cut(number == 2 ? EventSlice(1, of: 2) : nil))
    }
    static func identity(of consumer: Int) -> ConsumerIdentity { identities[consumer] }
    static func consumer(_ identity: ConsumerIdentity) -> Int { identities.firstIndex { $0.whole == identity.whole } ?? 0 }

    /// Whether writers may prepare transactions, and so must not notify.
    var writersMayPrepare: Bool { queue.habits.preparesInHundred > 0 && !queue.habits.notifies }

    // MARK: Connections

    func connect() -> SimulatedConnection {
        lastConnection += 1
        let connection = SimulatedConnection(number: lastConnection, surroundings)
        connections.append(connection)
        return connection
    }

    func serve(_ connection: SimulatedConnection) {
        if connection.serve(isRefused: hasPolicy) { unlock(connection) }
        forget()
    }

    /// The server's process of a connection ends.
    func kill(_ connection: SimulatedConnection) {
        connection.die()
        unlock(connection)
        forget()
    }

    private func unlock(_ connection: SimulatedConnection) {
        if latch?.holder == connection.number {
            latch = nil
            queue.isLatched = false
        }
        if waker == connection.number { waker = nil }
        signsOfLife.removeAll { $0.connection == connection.number }
    }

    private func forget() { connections.removeAll(where: \.isOver) }

    /// The server crashes and starts again: every connection and every transaction that was not prepared is gone.
    func crash() {
        queue.crash(&surroundings.random)
        for connection in connections { kill(connection) }
    }

    /// A standby has received everything by now.
    func replicate() { standby = contents }

    /// The server is gone, and the standby takes over with what it has received.
    func failOver() {
        guard var standby else { return }
        crash()
        standby.queue.takeOver(in: queue.era + 1, &surroundings.random)
        surroundings.note("fail-over: \(queue.committed.count - standby.queue.committed.count) events are lost")
        let before = queue.committed
        contents = standby
        self.standby = nil
        oracle.wentBack(to: queue.committed, from: before, consumers, epoch: lastEpoch)
    }

    /// Tells the oracle and the listeners what the writers have done.
    func announce() {
        let (rows, notifications) = queue.takeNews()
        for row in rows { oracle.becameVisible(row, consumers, era: queue.era) }
        for process in notifications { notify(by: process) }
    }

    func notify(by process: Int32) {
        for connection in connections where connection.isListening { connection.notify(by: process) }
    }

    func tearDown() { for connection in connections { connection.tearDown() } }

    // MARK: Which stream it is

    private var place: StreamPlace { StreamPlace(server: "1", timeline: "\(queue.era)", database: "1", table: "1") }
    /// Whether somebody has seen which generation this is since the server took over.
    var isEstablished: Bool { contents.noted == place }
    var identity: GenerationStore.Identity { .init(generation: generation, place: place) }

    /// What `GenerationStore.establish` does.
    func establish(remembering memory: StreamMemory) -> GenerationStore.Finding? {
        let missing = memory.generation == generation ? memory.recent.filter { !has($0) }.map(\.id) : []
        let seen = StreamSighting(
            generation: generation, place: place, noted: contents.noted, stored: EventID(settled), missing: missing)
        switch seen.verdict(remembering: memory) {
        case .same, .begun:
            contents.noted = contents.noted ?? place
            return .init(identity: identity)
        case .elsewhere:
            surroundings.broken("nobody can say whether this is the stream")
            return nil
        case .over:
            // The standby has not received that a generation had begun: an operator says that it is the one to keep.
            beginGeneration()
            surroundings.note("an operator begins generation \(generation) at \(generation.start)")
            return .init(identity: identity)
        case .wentBack where surroundings.fault == .generationGoesOn: return .init(identity: identity)
        case .wentBack(let reason):
            beginGeneration()
            surroundings.note("generation \(generation) begins at \(generation.start): \(reason)")
            return .init(identity: identity, reason: reason, lacksEvents: !missing.isEmpty)
        }
    }

    private func has(_ trace: StreamMemory.Trace) -> Bool {
        guard trace.id.rawValue > discarded else { return true }
        let index = queue.index(after: trace.id.rawValue) - 1
        return index >= 0 && queue.committed[index].id == trace.id.rawValue && queue.committed[index].era == Int(trace.time)
    }

    private func beginGeneration() {
        for consumer in consumers.indices {
            consumers[consumer].began = max(consumers[consumer].position, discarded)
            consumers[consumer].failing = nil
        }
        queue.leap(beyond: max(settled, consumers.map(\.position).max() ?? 0, lastLeap))
        lastLeap = queue.lastID
        generations += 1
        generation = StreamGeneration(stream: "S", id: "\(generations)", start: EventID(lastLeap))
        contents.noted = place
    }

    /// What was learned in another generation is not stored.
    private func isOf(_ generation: StreamGeneration) -> Bool { self.generation == generation }

    /// What `ArchiveTokens.admit` does.
    func admit(
        _ token: String, of identity: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration
    ) -> ArchiveTokens.Admission {
        guard consumers[SimulatedDatabase.consumer(identity)].epoch == epoch, isOf(generation) else { return .fenced }
        if let known, !tokens.contains(known) { return .unknown }
        tokens.insert(token)
        return .admitted(discarded: EventID(discarded))
    }

    // MARK: The tail's statements

    /// An id everything up to which is known to be settled, by what the tables say.
    var knownFloor: Int64 { consumers.reduce(settled) { max($0, $1.position) } }
    var newest: EventID { queue.committed.last.map { EventID($0.id > discarded ? $0.id : 0) } ?? .none }

    /// The newest event, and who holds the lock: the statement's snapshot is taken before it looks at the locks.
    func look() -> (newest: EventID, holders: Set<TableWriter>) {
        let newest = newest
        meanwhile()
        return (newest, queue.holders)
    }

    func takeLatch(_ connection: SimulatedConnection) -> Bool {
        if let latch, latch.holder == connection.number {
            self.latch = (latch.holder, latch.depth + 1)
            return true
        }
        guard latch == nil, !queue.isLatchShared else { return false }
        latch = (connection.number, 1)
        queue.isLatched = true
        return true
    }

    func releaseLatch(_ connection: SimulatedConnection) {
        guard let latch, latch.holder == connection.number else { return }
        self.latch = latch.depth > 1 ? (latch.holder, latch.depth - 1) : nil
        queue.isLatched = self.latch != nil
    }

    func takeWakerRole(_ connection: SimulatedConnection) -> Bool {
        if waker == nil { waker = connection.number }
        return waker == connection.number
    }

    /// Stretches of ids that can be seen past this one.
    func visible(after id: EventID) -> EventIDSet {
        EventIDSet(queue.committed[queue.index(after: max(id.rawValue, discarded))...].map { EventID($0.id)...EventID($0.id) })
    }

    /// Everything that has been committed after an id, through another, discarded or not.
    func committed(after first: EventID, through last: EventID) -> ArraySlice<SimulatedQueue.Row> {
        queue.committed[queue.index(after: first.rawValue)..<queue.index(after: max(first, last).rawValue)]
    }

    /// - Parameters:
    ///   - types: wanted ones; nil for all.
    ///   - stretch: ids from the first row there is that a read with a filter looks at; nil for all.
    ///   - limits: rows, and bytes in their wire form.
    func page(
        after: EventID, through end: EventID, types: [Bool]?, stretch: Int64?, limits: (rows: Int, bytes: Int)
    ) -> SimulatedRows {
        SimulatedRows(
            of: queue.committed[queue.index(after: max(after.rawValue, discarded))...], after: after, through: end, types: types,
            stretch: stretch, limits: limits)
    }

    // MARK: The archive

    /// What the archive holds: it soon has all that was discarded, and follows the generation of the stream.
    func extent() -> ArchiveExtent {
        if surroundings.chance(50) {
            if archived.generation != generation, isEstablished { archived = (generation, min(archived.through, discarded)) }
            if archived.generation == generation { archived.through = discarded }
        }
        let position = surroundings.fault == .archiveBeyondPosition ? EventID(.max) : EventID(archived.through)
        return ArchiveExtent([.init(want: .all, completeFrom: .none, position: position, generation: archived.generation)])
    }

    /// A page of the archive. Past what it is complete to it has some events already.
    func archivedPage(
        after: EventID, through end: EventID, types: [Bool]?, stretch: Int64?, limits: (rows: Int, bytes: Int)
    ) -> SimulatedRows {
        let rows = queue.committed[queue.index(after: after.rawValue)...].filter { $0.id <= archived.through || $0.id % 2 == 0 }
        return SimulatedRows(of: rows, after: after, through: end, types: types, stretch: stretch, limits: limits)
    }

    // MARK: Consumers

    func register(_ new: ConsumerRegistering.Registration) -> ConsumerRegistering.Registered {
        let consumer = SimulatedDatabase.consumer(new.consumer)
        guard !consumers[consumer].isRegistered else { return .done }
        let position = new.position?.rawValue ?? discarded
        guard position >= discarded || new.lowest.map({ position >= $0.rawValue }) ?? false else {
            return .discarded(through: EventID(discarded))
        }
        consumers[consumer].isRegistered = true
        consumers[consumer].position = position
        oracle.registered(consumer, at: position, epoch: lastEpoch)
        return .done
    }

    private func nextEpoch() -> Int64 {
        lastEpoch += 1
        return lastEpoch
    }

    /// - Parameter known: what a session before has confirmed; counts under its own epoch only.
    func claim(
        _ identity: ConsumerIdentity, isPartial: Bool, readsKeys: Bool, for pusher: Int64, knowing known: PositionBook.Entry?,
        of generation: StreamGeneration, dead: [Int64]
    ) -> ConsumerStore.Claim {
        let consumer = SimulatedDatabase.consumer(identity)
        guard consumers[consumer].isRegistered else { return .notRegistered }
        guard isOf(generation) else { return .busy }
        if let owner = consumers[consumer].owner, owner != pusher, !dead.contains(owner),
            signsOfLife.contains(where: { $0.pusher == owner })
        {
            return .busy
        }
        let before = (epoch: consumers[consumer].epoch, position: consumers[consumer].position)
        consumers[consumer].owner = pusher
        consumers[consumer].takesParked = isPartial
        consumers[consumer].epoch = nextEpoch()
        oracle.claimed(consumer, by: pusher, epoch: consumers[consumer].epoch)
        if let known, known.epoch == before.epoch || surroundings.fault == .knowledgeOfAnotherEpoch {
            consumers[consumer].position = max(before.position, known.position.rawValue)
            oracle.stored(
                consumer, from: before.position, to: consumers[consumer].position, by: pusher,
                epoch: consumers[consumer].epoch, queue)
        }
        var claimed = ConsumerStore.Claimed(
            position: EventID(consumers[consumer].position), epoch: consumers[consumer].epoch,
            common: EventID(consumers[consumer].began), discarded: EventID(discarded), isPaused: consumers[consumer].isPaused)
        // An archiver leaves nothing out.
        let isArchiver = surroundings.archivers > 0 && consumer == SimulatedWarehouse.consumer
        claimed.barrier = consumers[consumer].barrier.map { EventID($0) }
        claimed.maxAttempts = isArchiver ? 0 : surroundings.maxAttempts
        if readsKeys, surroundings.parksKeys {
            claimed.blockedKeys =
                surroundings.fault == .keysNotRead
                ? [] : Set(consumers[consumer].parked.compactMap { SimulatedEvent.key(of: $0.row.id) }).sorted()
        }
        claimed.failing = consumers[consumer].failing.flatMap { $0.event.rawValue > consumers[consumer].position ? $0 : nil }
        return .claimed(claimed)
    }

    func slices(of identity: ConsumerIdentity) -> Int? {
        let consumer = consumers[SimulatedDatabase.consumer(identity)]
        return consumer.isRegistered ? consumer.identity.component.slice?.count ?? 1 : nil
    }

    func release(_ identity: ConsumerIdentity, of pusher: Int64, epoch: Int64) {
        let consumer = SimulatedDatabase.consumer(identity)
        guard consumers[consumer].owner == pusher, consumers[consumer].epoch == epoch else { return }
        consumers[consumer].owner = nil
    }

    func resume(_ identity: ConsumerIdentity, for pusher: Int64, epoch: Int64) -> Bool {
        let consumer = SimulatedDatabase.consumer(identity)
        guard consumers[consumer].epoch == epoch, (consumers[consumer].owner ?? pusher) == pusher,
            consumers[consumer].barrier == nil
        else { return false }
        consumers[consumer].owner = pusher
        return true
    }

    /// A poller confirms.
    ///
    /// - Returns: what is stored; nil if it is not registered.
    func confirm(
        _ identity: ConsumerIdentity, through position: EventID, of generation: StreamGeneration
    ) -> ConsumerStore.Polled? {
        let consumer = SimulatedDatabase.consumer(identity)
        guard consumers[consumer].isRegistered else { return nil }
        if isOf(generation), position.rawValue > consumers[consumer].position {
            oracle.confirmed(consumer, from: consumers[consumer].position, to: position.rawValue, queue)
            consumers[consumer].position = position.rawValue
        }
        return .init(
            position: EventID(consumers[consumer].position), isPaused: consumers[consumer].isPaused,
            barrier: consumers[consumer].barrier.map { EventID($0) })
    }

    /// An operator stops a consumer's delivery, or lets it go on.
    func pause(_ consumer: Int, _ isPaused: Bool) {
        if isPaused { surroundings.note("consumer \(consumer) is paused") }
        consumers[consumer].isPaused = isPaused
    }

    /// What `Reslicing` does, a step at a time: delivery is stopped, goes on up to the last id that was drawn, and goes on from there.
    func reslice(_ consumer: Int) {
        guard consumers[consumer].isRegistered else { return }
        switch consumers[consumer].barrier {
        case nil:
            consumers[consumer].barrier = 0
            watches[consumer] = Dictionary(
                uniqueKeysWithValues: pushers.map {
                    ($0.id, PusherWatch(beat: $0.beat, interval: $0.interval, at: surroundings.now))
                })
            surroundings.note("consumer \(consumer) is stopped")
            if surroundings.fault == .barrierTooSoon { reslice(consumer) }
        case 0:
            let watched = watches[consumer] ?? [:]
            guard watched.values.allSatisfy({ $0.knows(at: surroundings.now) }) || surroundings.fault == .barrierTooSoon else {
                return
            }
            consumers[consumer].barrier = max(queue.lastID, 1)
            oracle.barrier(consumer, at: max(queue.lastID, 1), epoch: lastEpoch)
        case let barrier? where consumers[consumer].position >= barrier: endReslicing(consumer)
        default: break
        }
    }

    /// The new slices are there, or the present ones stay.
    func endReslicing(_ consumer: Int) {
        guard let barrier = consumers[consumer].barrier else { return }
        surroundings.note("consumer \(consumer), which was to stop at \(barrier), goes on from \(consumers[consumer].position)")
        consumers[consumer].barrier = nil
        giveAway(consumer)
        oracle.barrier(consumer, at: nil, epoch: lastEpoch)
    }

    /// What the commands that have stopped delivery see of a pusher.
    private func watch(_ pusher: Pusher) {
        for consumer in watches.keys { watches[consumer]?[pusher.id]?.saw(pusher.beat, at: surroundings.now) }
    }

    /// An operator takes a consumer from whoever serves it. Its receiver, still connected, is not told.
    func takeAway(_ consumer: Int) {
        guard consumers[consumer].owner != nil else { return }
        surroundings.note("consumer \(consumer) is taken away")
        giveAway(consumer)
    }

    private func giveAway(_ consumer: Int) {
        consumers[consumer].owner = nil
        consumers[consumer].epoch = nextEpoch()
        oracle.claimed(consumer, by: 0, epoch: consumers[consumer].epoch)
    }

    /// An operator moves a position, not past what is settled, while nothing is being discarded.
    func set(_ consumer: Int, to position: Int64) {
        guard consumers[consumer].isRegistered, !isDiscarding else { return }
        let position = mayReadArchive(consumer) ? position : max(position, discarded)
        consumers[consumer].owner = nil
        consumers[consumer].epoch = nextEpoch()
        consumers[consumer].position = position
        oracle.set(consumer, to: position, epoch: consumers[consumer].epoch)
    }

    /// An operator removes a consumer. Its receiver registers it again.
    func remove(_ consumer: Int) {
        guard consumers[consumer].isRegistered else { return }
        surroundings.note("consumer \(consumer) is removed")
        oracle.removed(consumer)
        consumers[consumer] = Consumer(identity: consumers[consumer].identity)
        oracle.claimed(consumer, by: 0, epoch: nextEpoch())
    }

    func store(
        _ entries: [PositionBook.Entry], by pusher: Int64, of generation: StreamGeneration
    ) -> [ConsumerIdentity: ConsumerStore.Stored] {
        var outcome: [ConsumerIdentity: ConsumerStore.Stored] = [:]
        for entry in entries { outcome[entry.consumer] = store(entry, by: pusher, of: generation) }
        return outcome
    }

    private func store(
        _ entry: PositionBook.Entry, by pusher: Int64, of generation: StreamGeneration
    ) -> ConsumerStore.Stored {
        let consumer = SimulatedDatabase.consumer(entry.consumer)
        guard consumers[consumer].epoch == entry.epoch || surroundings.fault == .epochNotChecked else { return .fenced }
        guard isOf(generation), !surroundings.trouble(2) else { return .locked }
        let before = consumers[consumer].position
        consumers[consumer].position = max(before, entry.position.rawValue)
        oracle.stored(consumer, from: before, to: consumers[consumer].position, by: pusher, epoch: entry.epoch, queue)
        return .stored
    }

    // MARK: Parked events

    private func owned(_ identity: ConsumerIdentity, _ epoch: Int64) -> Int? {
        let consumer = SimulatedDatabase.consumer(identity)
        return consumers[consumer].epoch == epoch ? consumer : nil
    }

    func park(_ parking: ParkedStore.Parking, of generation: StreamGeneration, by pusher: Int64) -> ParkedStore.Parked {
        let consumer = SimulatedDatabase.consumer(parking.consumer)
        let isOurs = consumers[consumer].epoch == parking.epoch || surroundings.fault == .parkedWithoutEpoch
        guard isOurs, isOf(generation) else { return .fenced }
        let row = SimulatedEvent.row(parking.event)
        if SimulatedEvent.event(row).data != parking.event.data { surroundings.broken("\(row.id) was parked with other data") }
        let before = consumers[consumer].position
        consumers[consumer].parked.removeAll { $0.row.id == row.id && $0.generation == generation.id }
        consumers[consumer].parked.append((row, generation.id, false))
        consumers[consumer].parked.sort { $0.row.id < $1.row.id }
        oracle.parked(row, of: consumer)
        consumers[consumer].position = max(before, row.id)
        oracle.stored(
            consumer, from: before, to: consumers[consumer].position, by: pusher, epoch: parking.epoch,
            queue)
        consumers[consumer].epoch = nextEpoch()
        oracle.claimed(consumer, by: pusher, epoch: consumers[consumer].epoch)
        return .parked(epoch: consumers[consumer].epoch)
    }

    /// What follows parked events of the same keys.
    func follow(
        _ following: ParkedStore.Following, limit: Int, of generation: StreamGeneration, by pusher: Int64
    ) -> ParkedStore.Parked {
        guard let consumer = owned(following.consumer, following.epoch), isOf(generation) else { return .fenced }
        guard consumers[consumer].parked.count + following.events.count <= limit else { return .full }
        for event in following.events where surroundings.fault != .followersForgotten {
            let row = SimulatedEvent.row(event)
            let key = SimulatedEvent.key(of: row.id)
            if key == nil || key != event.key || SimulatedEvent.event(row).data != event.data {
                surroundings.broken("\(row.id) was parked behind another event, and is another or has no key")
            }
            if !consumers[consumer].parked.contains(where: { $0.row == row }) {
                let isRetried = consumers[consumer].parked.contains { $0.isRetried && SimulatedEvent.key(of: $0.row.id) == key }
                consumers[consumer].parked.append((row, generation.id, isRetried))
                oracle.parked(row, of: consumer)
            }
            oracle.sent(row.id, to: consumer, epoch: following.epoch)
        }
        consumers[consumer].parked.sort { $0.row.id < $1.row.id }
        return .parked(epoch: following.epoch)
    }

    func failed(_ failing: Attempts.Failing, of identity: ConsumerIdentity, epoch: Int64, _ generation: StreamGeneration) {
        guard let consumer = owned(identity, epoch), isOf(generation), !surroundings.trouble(2) else { return }
        consumers[consumer].failing = failing
    }

    func nextParked(of identity: ConsumerIdentity, epoch: Int64, through cursor: EventID) -> ParkedStore.Retry? {
        guard let consumer = owned(identity, epoch) else { return nil }
        let parked = consumers[consumer].parked
        let keys = Set(parked.filter(\.isRetried).compactMap { SimulatedEvent.key(of: $0.row.id) })
        guard
            let next = parked.first(where: {
                ($0.isRetried || SimulatedEvent.key(of: $0.row.id).map { keys.contains($0) } ?? false)
                    && ($0.row.id <= cursor.rawValue || $0.generation != generation.id)
            })
        else { return nil }
        var page = EventPageBuilder(after: EventID(next.row.id - 1))
        SimulatedEvent.append(next.row, to: &page)
        return .init(id: EventID(next.row.id), generation: next.generation, page: page.build(through: EventID(next.row.id)))
    }

    func retried(
        _ id: EventID, of generation: String, _ outcome: ParkedStore.Retried, _ identity: ConsumerIdentity, epoch: Int64
    ) -> String? {
        guard let consumer = owned(identity, epoch),
            let index = consumers[consumer].parked.firstIndex(where: { $0.row.id == id.rawValue && $0.generation == generation })
        else { return nil }
        let key = SimulatedEvent.key(of: id.rawValue)
        let others = consumers[consumer].parked.indices.filter {
            key != nil && $0 != index && SimulatedEvent.key(of: consumers[consumer].parked[$0].row.id) == key
        }
        switch outcome {
        case .failed where surroundings.fault != .parkedForgotten:
            for index in [index] + others { consumers[consumer].parked[index].isRetried = false }
        case .unanswered:
            guard surroundings.trouble(30) else { break }
            for index in [index] + others { consumers[consumer].parked[index].isRetried = false }
        default:
            for index in others { consumers[consumer].parked[index].isRetried = true }
            oracle.unparked(consumers[consumer].parked.remove(at: index).row, of: consumer)
            return others.isEmpty ? key : nil
        }
        return nil
    }

    /// An operator says that some of the parked events are to be delivered again.
    func retryParked(_ consumer: Int, inHundred percent: Int) {
        guard consumers[consumer].takesParked else { return }
        for index in consumers[consumer].parked.indices where surroundings.chance(percent) {
            surroundings.note("\(consumers[consumer].parked[index].row.id) of consumer \(consumer) is to be delivered again")
            consumers[consumer].parked[index].isRetried = true
        }
    }

    /// What is to be delivered again still; nil if that is nothing.
    var parkedRemainder: String? {
        for (number, consumer) in consumers.enumerated() where consumer.takesParked {
            if let next = consumer.parked.first(where: \.isRetried) {
                return "\(next.row.id) of consumer \(number) is parked, and was not delivered again"
            }
        }
        return nil
    }

    // MARK: Pushers

    func showLife(_ pusher: Int64, _ connection: SimulatedConnection) -> Bool {
        guard !signsOfLife.contains(where: { $0.pusher == pusher && $0.connection != connection.number }) else { return false }
        signsOfLife.append((pusher, connection.number))
        return true
    }

    func enter(_ pusher: Int64) {
        if let index = pushers.firstIndex(where: { $0.id == pusher }) {
            watch(pushers[index])
        } else {
            pushers.append(Pusher(id: pusher))
        }
    }

    func forgetTheDead(but pusher: Int64) {
        pushers.removeAll { dead in dead.id != pusher && !signsOfLife.contains { $0.pusher == dead.id } }
    }

    func leave(_ pusher: Int64) { pushers.removeAll { $0.id == pusher } }

    func beat(
        _ pusher: Int64, settled: EventID, stored: EventID, of generation: StreamGeneration, interval: Duration
    ) -> PusherRegistry.Pulse {
        var pulse = PusherRegistry.Pulse()
        // The rows that a statement returns are as they were when it began.
        for known in pushers { pulse.beats[known.id] = (known.beat, interval) }
        for consumer in consumers where consumer.owner == pusher {
            var owned = PusherRegistry.Owned(epoch: consumer.epoch)
            owned.isPaused = consumer.isPaused
            owned.hasRetries = consumer.takesParked && consumer.parked.contains(where: \.isRetried)
            owned.barrier = consumer.barrier.map { EventID($0) }
            pulse.owned[consumer.identity] = owned
        }
        if let index = pushers.firstIndex(where: { $0.id == pusher }) {
            pulse.isAlive = true
            pushers[index].beat += 1
            pushers[index].interval = interval
            watch(pushers[index])
        }
        guard isOf(generation), self.settled >= stored.rawValue else { return pulse }
        if settled.rawValue > self.settled {
            self.settled = settled.rawValue
            oracle.settled(self.settled, queue, "the stored floor")
        }
        pulse.stored = EventID(self.settled)
        pulse.discarded = EventID(discarded)
        pulse.erased = erasures
        pulse.isAwaited = consumers.contains { $0.barrier == 0 }
        return pulse
    }

    func isBeatBlocked(settled: EventID) -> Bool { isStateLocked && settled.rawValue > self.settled }

    // MARK: The discarder

    /// Archivers hold whatever their lag.
    private func mayReadArchive(_ consumer: Int) -> Bool {
        surroundings.hasArchive && !(surroundings.archivers > 0 && consumer == SimulatedWarehouse.consumer)
    }

    /// Up to where a consumer holds nothing; nil if it holds nothing at all.
    private func held(by consumer: Int) -> Int64? {
        let position = consumers[consumer].position
        guard mayReadArchive(consumer) else { return position }
        guard position >= discarded else { return nil }
        let floor = surroundings.maxLag.map { settled - $0 } ?? 0
        return floor >= generation.start.rawValue ? max(position, floor) : position
    }

    func discardState() -> (confirmed: EventID?, lowest: EventID?) {
        let confirmed = consumers.indices.filter { consumers[$0].isRegistered }.compactMap { held(by: $0) }.min()
            .map { EventID($0) }
        let index = queue.index(after: discarded)
        return (confirmed, index < queue.committed.count ? EventID(queue.committed[index].id) : nil)
    }

    /// Empties a segment: nobody registers meanwhile, nor writes to it.
    ///
    /// - Returns: false if something in it may not go.
    func empty(segment: Int, through: EventID) -> Bool {
        guard let confirmed = discardState().confirmed, confirmed >= through else { return false }
        let first = queue.index(after: discarded)
        let rows = queue.committed[first...].filter { StreamTables.segmentIndex(of: EventID($0.id)) == segment }
        guard rows.last.map({ $0.id <= min(confirmed, through).rawValue }) ?? true else { return false }
        // Nothing before it must be left behind.
        let older = queue.committed[first..<max(first, queue.index(after: through.rawValue))]
        guard older.count == rows.count, through.rawValue > discarded else { return false }
        surroundings.note("segment \(segment) is emptied, through \(through)")
        oracle.discarded(through: through.rawValue, consumers)
        discarded = through.rawValue
        return true
    }

    /// Whether an open transaction has rows in the segment: who wants it for himself waits.
    func isWritten(segment: Int) -> Bool { queue.hasRowsInFlight { StreamTables.segmentIndex(of: EventID($0)) == segment } }

    func discard(from lowest: EventID, through: EventID, limit: Int) {
        let first = queue.index(after: lowest.rawValue - 1)
        let rows = queue.committed[first..<queue.index(after: through.rawValue)].prefix(limit)
        guard let last = rows.last?.id else { return }
        oracle.discarded(through: last, consumers)
        discarded = max(discarded, last)
    }
}
