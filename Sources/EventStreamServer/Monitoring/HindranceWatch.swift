import EventStream
import EventStreamDatabase
import LibPQ
package import Logging
package import PosixLoop

/// Finds out who keeps a process waiting for the active database, while it waits: over a connection of its own, because the others hang.
package final class HindranceWatch {
    package enum Need {
        case none
        /// Something is slower than it should be, or may be.
        case doubt
        /// The process waits.
        case waiting
    }

    private let database: DatabaseConfiguration
    private let application: String
    private let loop: EventLoop
    private let logger: Logger
    private let need: () -> Need
    private var timer: Timer?
    private var waitingSince: MonotonicTime?
    private var lookedAt: MonotonicTime?
    private var isLooking = false
    private var isStopped = false
    private var trouble = TroubleLog()
    /// What was found by the last look; nil while nothing needs one.
    package private(set) var found: String?

    /// Most waits are over before anything could be found out.
    private static let delay = Duration.seconds(2)
    private static let pauseWhileWaiting = Duration.seconds(3)
    private static let pauseInDoubt = Duration.seconds(10)

    /// - Parameters:
    ///   - application: the process, as it calls itself.
    ///   - need: asked every second.
    package init(
        _ database: DatabaseConfiguration, application: String, loop: EventLoop, logger: Logger, need: @escaping () -> Need
    ) {
        self.database = database
        self.application = application
        self.loop = loop
        self.logger = logger
        self.need = need
    }

    package func start() { tick() }

    package func stop() {
        isStopped = true
        timer?.cancel()
    }

    private func tick() {
        guard !isStopped else { return }
        timer = loop.schedule(after: .seconds(1)) { [weak self] in self?.tick() }
        let now = MonotonicTime.now
        let need = need()
        guard need != .none else { return (waitingSince, found) = (nil, nil) }
        let since = waitingSince ?? now
        waitingSince = since
        let pause = need == .waiting ? Self.pauseWhileWaiting : Self.pauseInDoubt
        guard !isLooking, now - since >= Self.delay, lookedAt.map({ now - $0 >= pause }) ?? true else { return }
        isLooking = true
        loop.begin(with: self) { await $0.look() }
    }

    private func look() async {
        var text: String?
        do {
            let options = database.options(
                application: "\(application) locks", settings: ["statement_timeout": "5s", "lock_timeout": "2s"])
            let connection = try await Connection.open(options, on: loop)
            defer { connection.close() }
            text = try await Hindrance.load(database.tables, from: connection).text
        } catch {
            // Of a database that cannot be asked the process itself tells.
            logger.debug("it could not be seen who has locks", metadata: [.error: "\(error)"])
        }
        (isLooking, lookedAt) = (false, .now)
        guard !isStopped else { return }
        found = waitingSince == nil ? nil : text
        guard let found, trouble.isNews(found) else { return }
        logger.warning("somebody keeps the process from its work", metadata: [.holders: "\(found)"])
    }
}
