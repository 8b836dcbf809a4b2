import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

protocol MembershipDelegate: AnyObject {
    /// A connection is ready; ``Membership/isReady`` says whether all are.
    func databaseOpened()
    /// A connection shows another stream than the head's reader has found, or another state of it.
    func databaseDisagrees(_ reason: String)
}

/// What belongs together: positions of one database must not get into another, so nothing is done over a connection that leads
/// elsewhere than the one that reads the head.
final class Membership {
    private let consumerPort: any ConsumerPort
    private let catchUpPort: any CatchUpPort
    private let logger: Logger
    weak var delegate: (any MembershipDelegate)?
    /// What the head's reader has found; nil while nobody knows what the database is.
    private(set) var trusted: GenerationStore.Identity?
    private var errors: (consumers: String?, catchUp: String?)
    private var told = TroubleLog()
    private let reconnects = Metric.reconnects.counter()
    let heartbeat: Heartbeat

    init(_ ports: PusherPorts, sessionTimeout: Duration, logger: Logger) {
        (consumerPort, catchUpPort) = (ports.consumers, ports.catchUp)
        self.logger = logger
        heartbeat = Heartbeat(ports.consumers, loop: ports.loop, sessionTimeout: sessionTimeout, logger: logger)
    }

    func start() {
        consumerPort.delegate = self
        catchUpPort.delegate = self
        consumerPort.start()
        catchUpPort.start()
    }

    /// Leaves the registry, closes.
    func stop(_ completion: @escaping () -> Void) {
        heartbeat.pause()
        let close = {
            self.consumerPort.stop()
            self.catchUpPort.stop()
            completion()
        }
        if let consumers { consumers.leave(close) } else { close() }
    }

    /// Where consumers and positions are stored, while that can be reached.
    var consumers: (any ConsumerPort)? {
        trusted != nil && consumerPort.identity == trusted && consumerPort.isConnected ? consumerPort : nil
    }

    var catchUp: (any CatchUpPort)? {
        trusted != nil && catchUpPort.identity == trusted && catchUpPort.isConnected ? catchUpPort : nil
    }

    var isReady: Bool { consumers != nil && catchUp != nil }

    /// Calls back with why a consumer is not there: it is not registered, or cut into slices otherwise.
    func notRegistered(_ consumer: ConsumerIdentity, _ completion: @escaping (EventStreamError) -> Void) {
        guard let consumers else { return completion(.unavailable) }
        consumers.slices(of: consumer) { result in
            switch result {
            case .success(let slices?) where slices > 1 && consumer.component.slice == nil:
                completion(.needsSlice(consumer, of: slices))
            case .success(let slices?):
                let text = RegisterCalls.text(slices > 1 ? slices : nil)
                completion(.notRegistered("\(consumer) is not registered: \(consumer.whole) is, \(text)"))
            case .success(nil): completion(.notRegistered("\(consumer) is not registered"))
            case .failure(let error): completion(.internalError("\(consumer) could not be looked up: \(error.message)"))
            }
        }
    }

    /// Why the database cannot be reached, if that is so.
    var trouble: (consumers: String?, catchUp: String?) { errors }

    /// The head's reader has lost its connection: until it has looked again nobody knows what the database is.
    func distrust() {
        trusted = nil
        heartbeat.pause()
    }

    /// The head's reader has found which stream this is.
    func trust(_ identity: GenerationStore.Identity, isAnew: Bool) {
        if isAnew { heartbeat.beginAnew() }
        trusted = identity
        let elsewhere = LookAgain(description: "this connection leads elsewhere than the one that reads the head")
        if consumerPort.isConnected, consumerPort.identity != identity { consumerPort.restart(because: elsewhere) }
        if catchUpPort.isConnected, catchUpPort.identity != identity { catchUpPort.restart(because: elsewhere) }
        if consumers != nil { heartbeat.start(in: identity.generation) }
        report()
    }

    private func report() {
        guard isReady, told.isGoodNews() else { return }
        logger.info("connected to the database", metadata: [.database: "\(consumerPort.host)"])
    }

    private func opened(_ identity: GenerationStore.Identity?) {
        guard let trusted else { return }
        guard identity == trusted else {
            delegate?.databaseDisagrees("another connection leads to another database, or to another state of it")
            return
        }
        report()
        delegate?.databaseOpened()
    }

    /// - Returns: why the connection failed, if that is not of our own making.
    private func failed(_ error: any Error) -> String? {
        guard !(error is LookAgain) else { return nil }
        reconnects.add()
        // Of a database that cannot be reached the head's reader tells; one that refuses only this is told here.
        let isRefused = (error as? PostgresError)?.code == .server || error is StoreError
        if isRefused, told.isNews("\(error)") {
            logger.warning("no database for consumers, or for those who catch up; trying again", metadata: [.error: "\(error)"])
        }
        return "\(error)"
    }
}

extension Membership: ConsumerPortDelegate, CatchUpPortDelegate {
    func consumersOpened() {
        errors.consumers = nil
        if let trusted, consumers != nil { heartbeat.start(in: trusted.generation) }
        opened(consumerPort.identity)
    }

    func catchUpOpened() {
        errors.catchUp = nil
        opened(catchUpPort.identity)
    }

    func consumersFailed(_ error: any Error) {
        heartbeat.lost()
        if let text = failed(error) { errors.consumers = text }
    }

    func catchUpFailed(_ error: any Error) { if let text = failed(error) { errors.catchUp = text } }
}

extension EventStreamError {
    /// A consumer with slices has no session, position or lag of its own.
    static func needsSlice(_ consumer: ConsumerIdentity, of count: Int) -> EventStreamError {
        .invalidRequest("\(consumer) has \(count) slices: name one, as slice {\"index\": 0, \"of\": \(count)}")
    }
}
