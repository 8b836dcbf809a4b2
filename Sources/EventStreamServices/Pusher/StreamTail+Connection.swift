import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// A new connection: which stream it leads to, and where reading goes on.
extension StreamTail: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        let queries = TailQueries(info)
        let generations = GenerationStore(info)
        let found = try await generations.establish(remembering: memory, failOver: failOver, on: connection)
        report(found)
        let columns = try await TableTrouble.addedColumns(info, on: connection)
        if !columns.isEmpty { logger.warning("\(TableTrouble.columnsText(columns, of: info.tables))") }
        try await queries.listen(on: connection)
        let floor = try await queries.settledFloor(on: connection)
        (self.info, self.queries, rows, self.generations) = (info, queries, QueueReader(info.tables), generations)
        // After a reconnect the tail goes on where it was, if that means anything in this database.
        if head == nil || memory.generation != found.identity.generation { head = HeadReader(settled: floor, configuration) }
        memory.follow(found.identity.generation)
        identity = found.identity
    }

    private func report(_ found: GenerationStore.Finding) {
        if let reason = found.reason {
            // Where events are known to be missing, this is said as loudly as can be.
            logger.log(
                level: found.lacksEvents ? .error : .warning,
                """
                the active database went back, or may have: a new generation of the stream begins. Every consumer goes on from its \
                position in this database; nothing recorded later is skipped
                """, metadata: [.reason: "\(reason)", .generation: "\(found.identity.generation)"])
        } else if let known = memory.generation, known != found.identity.generation {
            logger.warning(
                "a new generation of the stream has begun: sessions begin anew; `evt status` tells why",
                metadata: [.generation: "\(found.identity.generation)"])
        }
        if let complaint = found.complaint { logger.error("\(complaint)") }
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        connection.onNotification = { [unowned self] _ in
            if self.isFollowing, let action = self.head?.notified() { self.perform(action) }
        }
        guard let identity else { return }
        if trouble.isGoodNews() {
            logger.info(
                "following the stream", metadata: [.settled: "\(settled ?? .none)", .generation: "\(identity.generation)"])
        }
        let isAnew = announced != identity.generation
        announced = identity.generation
        onStart(Start(position: settled ?? .none, identity: identity, isAnew: isAnew))
        takeRole(on: connection)
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        timer?.cancel()
        isFollowing = false
        connectionFailed(error)
        onLost()
        if error is LookAgain {
            logger.debug("looking at the database again", metadata: [.reason: "\(error)"])
        } else if trouble.isNews("\(error)") {
            logger.warning("no database; trying again", metadata: [.error: "\(error)"])
        }
        let waiting = askersOfThisTurn + askers
        (askers, askersOfThisTurn) = ([], [])
        for asker in waiting { asker(false) }
    }
}
