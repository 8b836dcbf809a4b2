import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop

/// What a pusher does for the tables it writes, beside its work: small tables stay small, marks of when the stream was settled are
/// thinned out, the sequence goes on beyond what there is, and frozen processes do not keep a table locked.
final class PusherUpkeep {
    private let logger: Logger
    private let tables: TableUpkeep
    private var sizesLookedAt: MonotonicTime?
    private var marksAdded = 0
    private var markedAt = EventID.none
    private var mayKeepSequence = true

    init(_ configuration: DatabaseConfiguration, loop: EventLoop, logger: Logger) {
        self.logger = logger
        tables = TableUpkeep(
            configuration.options(application: "evt-pusher upkeep", settings: TableRewriting.settings), loop: loop, logger: logger
        )
    }

    func opened(_ info: StreamInfo) {
        sizesLookedAt = nil
        tables.rewriting = { TableRewriting($0, of: info) }
    }

    func stop() { tables.stop() }

    /// Something was written, or not: that may have been much.
    func wrote<Value>(_ result: Result<Value, PostgresError>, _ info: StreamInfo, on connection: Connection) {
        if case .failure(let error) = result { endFrozen(info, because: error, on: connection) }
        guard sizesLookedAt.map({ MonotonicTime.now - $0 > .milliseconds(500) }) ?? true else { return }
        sizesLookedAt = .now
        let hot = TableRewriting.hotTables(of: info)
        TableRewriting.sizes(of: hot, on: connection) { [weak self] result in
            switch result {
            case .success(let sizes): self?.tables.saw(Dictionary(zip(hot, sizes), uniquingKeysWith: { $1 }))
            case .failure(let error): self?.endFrozen(info, because: error, on: connection)
            }
        }
    }

    /// A sign of life has reached the database, or not.
    func beat(
        _ result: Result<PusherRegistry.Pulse, PostgresError>, settled: EventID, _ statements: ConsumerStatements,
        on connection: Connection
    ) {
        switch result {
        case .failure(let error): endFrozen(statements.info, because: error, on: connection)
        case .success(let pulse):
            guard pulse.stored != nil else { return }
            keepSequence(beyond: settled, statements.generations, on: connection)
            keepMarks(settled, statements.info, on: connection)
            tables.saw(pulse.sizes)
        }
    }

    private func keepSequence(beyond settled: EventID, _ generations: GenerationStore, on connection: Connection) {
        generations.keepSequence(beyond: settled, on: connection) { [weak self] result in
            guard let self, case .success(let finding) = result else { return }
            switch finding {
            case .wasBehind(let now):
                self.logger.error(
                    """
                    the sequence of event ids was behind events or positions there are: was it set back, or ids given by hand? It \
                    goes on after them
                    """, metadata: [.settled: "\(settled)", .last: "\(now)"])
            case .notPermitted where self.mayKeepSequence:
                self.mayKeepSequence = false
                self.logger.warning("cannot protect the sequence of event ids: GRANT USAGE, UPDATE on it and on its …_settled")
            case .fine, .notPermitted: break
            }
        }
    }

    /// Now and then marks are thinned out.
    private func keepMarks(_ settled: EventID, _ info: StreamInfo, on connection: Connection) {
        guard settled > markedAt else { return }
        markedAt = settled
        marksAdded += 1
        guard marksAdded >= SettledMarks.period else { return }
        marksAdded = 0
        SettledMarks(info).thinOut(on: connection) { [weak self] result in
            guard case .failure(let error) = result else { return }
            self?.logger.warning("marks of when the stream was settled could not be thinned out", metadata: [.error: "\(error)"])
        }
    }

    // MARK: Frozen processes

    /// Somebody has a table locked: perhaps a pusher that was making it anew, and is frozen.
    private func endFrozen(_ info: StreamInfo, because error: PostgresError, on connection: Connection) {
        guard error.sqlState == .lockNotAvailable else { return }
        TableRewriting.endFrozen(info.key(of: .rewriting), on: connection) { [weak self] ended in self?.tellFrozen(ended) }
    }

    /// The same while a connection is prepared.
    func endFrozen(_ info: StreamInfo, because error: any Error, on connection: Connection) async {
        guard (error as? PostgresError)?.sqlState == .lockNotAvailable, connection.isOpen else { return }
        tellFrozen((try? await TableRewriting(info.tables.consumers, of: info).endFrozen(on: connection)) ?? 0)
    }

    private func tellFrozen(_ ended: Int) {
        guard ended > 0 else { return }
        logger.warning("a frozen process had a table of the stream locked; its connection was ended")
    }
}
