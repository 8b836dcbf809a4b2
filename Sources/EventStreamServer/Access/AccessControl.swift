package import EventStream
package import LibZMQ
package import Logging
package import PosixLoop

/// Who is at the other end of a connection, and what it may do. Belongs to the loop's thread.
package final class Caller {
    package let user: AuthorizedKeys.User
    package let connection: Int32
    package let account: Account
    package let id: PeerID
    /// What its messages carry.
    package let name: String
    /// The user has too many connections with this one.
    package var isExcess = false

    package init(user: AuthorizedKeys.User, connection: Int32, id: PeerID) {
        self.user = user
        self.connection = connection
        self.id = id
        name = id.description
        account = id.key == nil ? .connection(id.number) : .user(user.name)
    }

    package func isSameUser(as other: Caller) -> Bool { self === other || user == other.user }
}

/// What tells a connection from every other, and whose it is: written `<number> <public key in Z85>`, or the number alone.
package struct PeerID: Hashable {
    /// Greater with each that is admitted.
    package let number: UInt64
    package let key: CurveKey?

    package init(number: UInt64, key: CurveKey?) { (self.number, self.key) = (number, key) }

    package init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: " "))
        guard (1...2).contains(parts.count), let number = UInt64(Substring(parts[0])) else { return nil }
        self.init(number: number, key: parts.count == 2 ? CurveKey(z85: parts[1]) : nil)
    }

    package var description: String { key.map { "\(number) \($0.z85)" } ?? "\(number)" }
}

/// Admits peers to the sockets of a context, and knows what each may do.
///
/// Without keys everybody is the user `local`, who may do everything.
package final class AccessControl {
    private let keys: ServerKeys?
    private let loop: EventLoop
    private let logger: Logger
    private let authenticator: Authenticator
    private var users: AuthorizedKeys
    /// The types that somebody is narrowed to.
    package private(set) var narrowedTypes: Set<EventType> = []
    private var observer: Int?
    private var peerLog = PeerLog()

    /// What a socket is for: its name in ZAP requests.
    package enum Domain: String { case generator, pusher, live }

    /// Called when the keys have changed.
    package var onChange: [() -> Void] = []
    /// Called before somebody is admitted: for the sockets to hear that he has connected, and of all who went before. False as
    /// long as something is left to be received: only then libzmq gives a routing id free that was somebody's who is gone.
    package var beforeAdmission: [() -> Bool] = []
    private var waiting: [(key: CurveKey?, answer: (String?) -> Void, since: MonotonicTime)] = []
    private static let longestWait = Duration.milliseconds(50)
    /// How many were admitted.
    package private(set) var admitted: UInt64 = 0

    package init(_ keys: ServerKeys?, context: Context, loop: EventLoop, logger: Logger) throws {
        self.keys = keys
        self.loop = loop
        self.logger = logger
        users = keys?.authorized.keys ?? AuthorizedKeys([:])
        narrowedTypes = users.narrowedTypes
        final class Box { weak var control: AccessControl? }
        let box = Box()
        authenticator = try Authenticator(in: context) { box.control?.decide($0, $1) ?? $1(nil) }
        box.control = self
    }

    /// Whether there are keys.
    package var isKeyed: Bool { keys != nil }

    package func options(for domain: Domain) -> [Socket.Option] {
        let secret = keys?.certificate.secretKey.map { Socket.Option.curveServer(secretKey: $0.bytes) }
        return [.authenticated(domain: domain.rawValue)] + [secret].compactMap { $0 }
    }

    package func start() {
        loop.add(authenticator.source)
        guard let keys else { return }
        observer = keys.authorized.observe(loop.callback { [weak self] in self?.changed() })
    }

    package func stop() {
        if let observer { keys?.authorized.stopObserving(observer) }
        observer = nil
        loop.remove(authenticator.source)
    }

    private func changed() {
        guard let now = keys?.authorized.keys else { return }
        (users, narrowedTypes) = (now, now.narrowedTypes)
        for observer in onChange { observer() }
    }

    /// Who sends messages with this id; nil for somebody who may not, any more.
    package func user(withID id: PeerID) -> AuthorizedKeys.User? {
        guard isKeyed else { return AccessControl.local }
        return id.key.flatMap { users[$0] }
    }

    /// Whether it may still do what it might when it was heard first, and no more.
    package func isCurrent(_ caller: Caller) -> Bool { user(withID: caller.id) == caller.user }

    private static let local = AuthorizedKeys.User(name: ConsumerIdentity.localUser, rights: .all)

    private func decide(_ candidate: Authenticator.Candidate, _ answer: @escaping (String?) -> Void) {
        guard isKeyed else { return wait(for: nil, answer) }
        guard let key = candidate.publicKey.flatMap({ CurveKey(bytes: $0) }), let user = users[key] else {
            if let line = peerLog.line("stranger", of: .address(candidate.address)) {
                logger.notice(
                    "a stranger was turned away: its key is not among the authorized ones",
                    metadata: line.metadata([.address: "\(candidate.address)"]))
            }
            return answer(nil)
        }
        guard candidate.domain != Domain.live.rawValue || user.rights.has(.live) else {
            if let line = peerLog.line("not the right live", of: .user(user.name)) {
                logger.notice(
                    "a user was turned away from the live broadcast: it does not have the right live",
                    metadata: line.metadata([.user: "\(user.name)", .address: "\(candidate.address)"]))
            }
            return answer(nil)
        }
        wait(for: key, answer)
    }

    private func wait(for key: CurveKey?, _ answer: @escaping (String?) -> Void) {
        waiting.append((key, answer, .now))
        if waiting.count == 1 { admit() }
    }

    private func admit() {
        let isCalm = beforeAdmission.map { $0() }.allSatisfy { $0 }
        while let first = waiting.first, isCalm || .now - first.since > AccessControl.longestWait {
            waiting.removeFirst()
            admitted += 1
            first.answer(PeerID(number: admitted, key: first.key).description)
        }
        if !waiting.isEmpty { loop.soon { [weak self] in self?.admit() } }
    }
}
