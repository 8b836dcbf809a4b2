import EventStream
import TestSupport

@testable import EventStreamPusher

/// What goes wrong in a world, and how it comes right at the end.
extension DeliveryWorld {
    func start(_ endpoint: Int) {
        restarts[endpoint] = nil
        lastRun += 1
        surroundings.note("pusher \(lastRun) starts at endpoint \(endpoint)")
        pushers[endpoint] = SimulatedProcess(configuration, surroundings, database, run: lastRun)
    }

    /// A pusher's process ends, killed or stopped.
    func end(_ endpoint: Int) {
        guard let pusher = pushers[endpoint] else { return }
        surroundings.note("pusher \(pusher.run) is gone")
        pusher.kill()
        pushers[endpoint] = nil
        restarts[endpoint] = surroundings.now + surroundings.milliseconds(0...800)
    }

    func makeTrouble() {
        if let warehouse, surroundings.chance(20) { return makeTrouble(for: warehouse) }
        let endpoint = surroundings.random.below(pushers.count)
        switch surroundings.random.below(30) {
        case 0...1: end(endpoint)
        case 2: pushers[endpoint]?.stop()
        case 3...4:
            guard !isStrict, let pusher = pushers[endpoint] else { return }
            surroundings.note("pusher \(pusher.run) freezes")
            pusher.frozenUntil = surroundings.now + surroundings.milliseconds(surroundings.chance(60) ? 1...300 : 300...3000)
        case 7...9: loseConnection()
        case 10 where surroundings.chance(20):
            surroundings.note("the database crashes")
            database.crash()
            discarder.rollBack()
        case 5: database.replicate()
        case 6 where surroundings.chance(30): failOver()
        case 11...13: clients[surroundings.random.below(clients.count)].reset()
        case 14...16: clients[surroundings.random.below(clients.count)].crash()
        case 17: receivers[surroundings.random.below(receivers.count)].stop()
        case 18...19: ask(pushers[endpoint])
        case 20...21: database.takeAway(surroundings.random.below(oracle.consumers.count))
        case 22...23: beOperator(surroundings.random.below(oracle.consumers.count))
        case 24: database.hasPolicy = !database.hasPolicy
        case 26...29 where surroundings.maxAttempts > 0:
            for consumer in oracle.consumers.indices { database.retryParked(consumer, inHundred: 50) }
        case 25 where surroundings.chance(50): reslice()
        case 25: database.pause(surroundings.random.below(oracle.consumers.count), surroundings.chance(50))
        // Worlds with a planted fault stay those in which it is found soon.
        case 26 where surroundings.fault == nil:
            if surroundings.chance(50) { database.hasPolicy = false }
            surroundings.note("data is erased")
            database.erasures += 1
        default: if surroundings.chance(50) { database.hasPolicy = false }
        }
    }

    private func makeTrouble(for warehouse: SimulatedWarehouse) {
        switch surroundings.random.below(10) {
        case 0...1: warehouse.backUp()
        case 2...4: warehouse.restore()
        case 5...6: warehouse.loseConnection()
        case 7: database.replicate()
        case 8: failOver()
        default: break
        }
    }

    private func failOver() {
        database.failOver()
        discarder.rollBack()
    }

    /// An operator sets a position back or forward, or removes a consumer.
    private func beOperator(_ consumer: Int) {
        guard consumer != warehouse?.consumer else {
            // What an archiver is set forward over it does not get; what is removed may be discarded before it is back.
            let position = database.consumers[consumer].position
            return database.set(consumer, to: Int64(surroundings.random.below(Int(position) + 1)))
        }
        let head = database.knownFloor
        switch surroundings.random.below(5) {
        case 0: database.set(consumer, to: 0)
        case 1...2: database.set(consumer, to: Int64(surroundings.random.below(Int(head) + 1)))
        case 3: database.set(consumer, to: head)
        default: database.remove(consumer)
        }
    }

    /// A consumer is to be cut into other slices; those that are to be go on with it.
    private func reslice() {
        for consumer in oracle.consumers.indices where consumer != warehouse?.consumer {
            if database.consumers[consumer].barrier != nil || surroundings.chance(30) { database.reslice(consumer) }
        }
    }

    /// Somebody wants to know what has been committed so far.
    private func ask(_ pusher: SimulatedProcess?) {
        guard let pusher, pusher.frozenUntil == nil, database.queue.holders.isEmpty else { return }
        let newest = oracle.newestVisible
        pusher.engine.services.head.whenFresh { [unowned self] isFresh in
            // What is held back, or discarded by now, is excused.
            guard isFresh, let head = pusher.engine.services.head.head, head.gap == nil, newest > self.database.discarded,
                head.settled.rawValue < newest
            else { return }
            self.surroundings.broken("pusher \(pusher.run) says it knows all, at \(head.settled); \(newest) was committed before")
        }
    }

    private func loseConnection() {
        guard !database.connections.isEmpty else { return }
        let connection = database.connections[surroundings.random.below(database.connections.count)]
        surroundings.note("connection \(connection.number) is lost")
        // Either end may be the first to notice.
        if isStrict || surroundings.chance(50) { database.kill(connection) }
        if connection.isOpen, surroundings.chance(50), !pushers.contains(where: { $0?.frozenUntil != nil }) { connection.lose() }
    }

    /// No more faults; those there are come right.
    func endTrouble() {
        surroundings.hasTrouble = false
        for consumer in oracle.consumers.indices {
            database.pause(consumer, false)
            database.endReslicing(consumer)
            database.retryParked(consumer, inHundred: 100)
        }
        database.hasPolicy = false
        for endpoint in pushers.indices {
            pushers[endpoint]?.frozenUntil = nil
            if let due = restarts[endpoint] { restarts[endpoint] = min(due, surroundings.now) }
        }
    }
}
