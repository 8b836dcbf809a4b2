import EventStream
import EventStreamServer
import LibZMQ
import Logging
import PosixLoop

/// Who subscribes to the live broadcast, and to what. With keys it grants subscriptions as far as a user may see the types.
///
/// What is granted goes to the subscriber whose request was received last, as libzmq remembers it (`xpub.cpp`, 4.3.4). It does
/// not notice when that one is gone, so a request counts only while its connection is there. And it loses count when somebody
/// sends what is no request, until nothing is left to be received: whoever may be meant wrongly is cut, and asks again.
final class Subscribers: PollSource {
    private struct Subscriber {
        let user: AuthorizedKeys.User
        let id: PeerID
        var topics: SubscriberTopics
        var given: Set<[UInt8]> = []
    }

    private let socket: Socket
    private let access: AccessControl
    private let limits: PeerLimits
    private let logger: Logger
    private var present: Connections
    private var subscribers: [Int32: Subscriber] = [:]
    private var counts: [String: Int] = [:]
    /// The types there are, as far as this pusher has met them, that begin like one somebody is narrowed to.
    private var known: Set<EventType> = []
    private var isOutOfStep = false
    /// Hears of connections that came or went: libzmq tells of an end before it forgets the subscriber.
    var lookAtConnections: () -> Void = {}
    private var peerLog = PeerLog()
    private let watch: SubscriptionWatch
    let descriptor: Int32

    init(of socket: Socket, access: AccessControl, limits: PeerLimits, logger: Logger) {
        self.socket = socket
        self.access = access
        self.limits = limits
        self.logger = logger
        present = Connections(limit: limits.connections)
        watch = SubscriptionWatch(logger: logger)
        descriptor = socket.descriptor
        access.onChange.append { [weak self] in self?.rightsChanged() }
        access.beforeAdmission.append { [weak self] in
            self?.lookAtConnections()
            return true
        }
    }

    func stop() { watch.stop() }

    /// Present connections; nothing is put together without any.
    var count: Int { present.count }
    var connections: some Collection<Int32> { present.all }

    // MARK: Connections

    func connected(_ connection: Int32) {
        watch.connected(connection)
        if let excess = present.connected(connection, after: access.admitted) {
            cut(excess, "too many connections", because: "there are too many connections")
        }
    }

    func disconnected(_ connection: Int32) {
        present.disconnected(connection, after: access.admitted)
        watch.disconnected(connection)
        forget(connection)
    }

    private func forget(_ connection: Int32) {
        guard let subscriber = subscribers.removeValue(forKey: connection) else { return }
        counts[subscriber.user.name] = counts[subscriber.user.name].flatMap { $0 > 1 ? $0 - 1 : nil }
    }

    private func cut(_ connection: Int32, of user: AuthorizedKeys.User? = nil, _ kind: PeerLog.Kind, because reason: String) {
        PeerConnection(connection).cut()
        let user = user ?? subscribers[connection]?.user
        if let line = peerLog.line(kind, of: source(of: connection, user)) {
            logger.notice(
                "a live subscriber was disconnected",
                metadata: line.metadata([.user: "\(user?.name ?? "?")", .reason: "\(reason)"]))
        }
        forget(connection)
    }

    private func source(of connection: Int32, _ user: AuthorizedKeys.User?) -> PeerLog.Source {
        if access.isKeyed { return user.map { .account(.user($0.name)) } ?? .unknown }
        return subscribers[connection].map { .account(.connection($0.id.number)) } ?? .unknown
    }

    /// It has not taken what was sent for long.
    func cutSlow(_ connection: Int32) {
        PeerConnection(connection).cut()
        let user = subscribers[connection]?.user
        guard let line = peerLog.line("slow", of: source(of: connection, user)) else { return }
        logger.notice(
            "a live subscriber that does not keep up was disconnected", metadata: line.metadata([.user: "\(user?.name ?? "?")"]))
    }

    private func rightsChanged() {
        known = known.filter(beginsLikeNarrowed)
        for connection in present.unheard.keys { PeerConnection(connection).cut() }
        for (connection, subscriber) in subscribers where access.user(withID: subscriber.id) != subscriber.user {
            cut(connection, "rights have changed", because: "the rights of its user have changed")
        }
    }

    // MARK: Subscriptions

    func descriptorFired() { socket.descriptorFired() }
    func isReady() -> Bool { socket.isReadable() }

    func dispatch() {
        for _ in 0..<64 {
            let request = try? socket.receiveSubscription()
            lookAtConnections()
            guard let request else {
                isOutOfStep = false
                return
            }
            received(request)
        }
    }

    private func received(_ request: SubscriptionRequest) {
        if request.kind == .other { isOutOfStep = true }
        guard let id = request.user.flatMap({ PeerID($0) }), present.isPresent(request.connection, id) else { return }
        guard request.kind != .other, !access.isKeyed || !isOutOfStep else {
            return cut(
                request.connection, "no subscription", because: "it, or another at the same time, sent what is no subscription")
        }
        guard var subscriber = subscriber(request, id) else {
            return cut(
                request.connection, of: access.user(withID: id), "may not subscribe",
                because: "its user may not subscribe, or has too many connections")
        }
        switch request.kind {
        case .subscribe(let prefix):
            guard subscriber.topics.subscribe(prefix) else {
                return cut(
                    request.connection, "too many subscriptions", because: "more than \(SubscriberTopics.limit) subscriptions")
            }
        case .unsubscribe(let prefix): subscriber.topics.unsubscribe(prefix)
        case .other: return
        }
        defer { subscribers[request.connection] = subscriber }
        // Without keys libzmq has granted it already.
        guard access.isKeyed else { return }
        let given = subscriber.topics.given(known: known)
        for prefix in subscriber.given.subtracting(given) { try? socket.set(.unsubscribe(prefix)) }
        for prefix in given.subtracting(subscriber.given) { try? socket.set(.subscribe(prefix)) }
        subscriber.given = given
    }

    private func subscriber(_ request: SubscriptionRequest, _ id: PeerID) -> Subscriber? {
        if let known = subscribers[request.connection], known.id == id { return known }
        guard let user = access.user(withID: id), user.rights.has(.live) else { return nil }
        guard !access.isKeyed || counts[user.name] ?? 0 < limits.userConnections else { return nil }
        forget(request.connection)
        counts[user.name, default: 0] += 1
        present.heard(request.connection)
        return Subscriber(user: user, id: id, topics: SubscriberTopics(types: user.rights.types))
    }

    private func beginsLikeNarrowed(_ type: EventType) -> Bool {
        let text = type.utf8
        return (1..<text.count).contains { EventType(wire: text.prefix($0)).map(access.narrowedTypes.contains) ?? false }
    }

    /// An event of this type is sent next. If it is the first, those for whom it would be among what they asked for, and who may
    /// not see it, are cut before; they ask again, and are granted less.
    func willBroadcast(_ type: EventType) {
        guard !access.narrowedTypes.isEmpty, !known.contains(type), beginsLikeNarrowed(type) else { return }
        known.insert(type)
        for (connection, subscriber) in subscribers where subscriber.topics.isBetrayed(by: type, given: subscriber.given) {
            if let line = peerLog.line("less than its types", of: .user(subscriber.user.name)) {
                logger.warning(
                    """
                    a user gets less of the live broadcast than its types: one of them is how a type begins that it may not see, and \
                    subscriptions cannot tell these apart; live sessions can
                    """, metadata: line.metadata([.user: "\(subscriber.user.name)", .type: "\(type)"]))
            }
            cut(connection, "type it may not see", because: "it would get events of the type \(type)")
        }
    }
}
