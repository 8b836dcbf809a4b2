import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// How far consumers are: noted at once, stored together soon after.
final class PositionWriter {
    private let membership: Membership
    private let loop: any LoopPort
    private let logger: Logger
    private var book = PositionBook()
    private var timer: (any ScheduledCall)?
    private var lockedSince: MonotonicTime?
    private var error: String?
    private var told = TroubleLog()
    /// The session with this epoch has ended: another has the consumer, or it is gone.
    var onFenced: (ConsumerIdentity, Int64) -> Void = { _, _ in }

    /// Positions are stored at most this long after the answer; well within what the protocol promises.
    private static let delay = Duration.milliseconds(100)
    /// Whoever ends a session waits so long at most for its position to be stored.
    private static let releaseTimeout = Duration.seconds(3)

    init(_ membership: Membership, loop: any LoopPort, logger: Logger) {
        self.membership = membership
        self.loop = loop
        self.logger = logger
    }

    func stop() { timer?.cancel() }

    /// What was noted was of another generation.
    func beginAnew() { book = PositionBook() }

    /// Why positions cannot be stored; where none waits any more none has to be: its session may have ended meanwhile.
    var trouble: String? { book.isEmpty ? nil : error }

    /// What a session before has confirmed, stored yet or not.
    func newest(_ known: PositionBook.Entry?, of consumer: ConsumerIdentity) -> PositionBook.Entry? {
        book.newest(known, of: consumer)
    }

    func note(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
        book.note(consumer, epoch: epoch, position: position)
        flushSoon()
    }

    /// Stores the session's last position and gives the consumer up.
    ///
    /// - Parameter completion: called once both are done, or cannot be done now.
    func release(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID, completion: @escaping () -> Void = {}) {
        guard let port = membership.consumers, let trusted = membership.trusted else {
            // Stored once the database is known again, unless somebody has the consumer by then.
            book.note(consumer, epoch: epoch, position: position)
            return completion()
        }
        // Kept until it is stored: somebody may have the row locked, for an instant or for long.
        note(consumer, epoch: epoch, position: position)
        let entry = PositionBook.Entry(consumer: consumer, epoch: epoch, position: position)
        port.store([entry], of: trusted.generation) { result in
            if let outcome = (try? result.get())?[consumer], outcome != .locked { self.book.forget(entry) }
        }
        port.release(consumer, epoch: epoch) { _ in
            self.whenStored(entry, until: self.loop.now + PositionWriter.releaseTimeout, completion)
        }
    }

    private func whenStored(_ entry: PositionBook.Entry, until deadline: MonotonicTime, _ completion: @escaping () -> Void) {
        guard let waiting = book.entry(of: entry.consumer), waiting.epoch == entry.epoch, loop.now < deadline else {
            return completion()
        }
        loop.after(PositionWriter.delay) { self.whenStored(entry, until: deadline, completion) }
    }

    private func flushSoon() {
        guard timer == nil else { return }
        timer = loop.after(PositionWriter.delay) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.flush()
        }
    }

    func flush() {
        guard let port = membership.consumers, let trusted = membership.trusted else { return }
        let entries = book.take()
        guard !entries.isEmpty else { return }
        port.store(entries, of: trusted.generation) { result in
            switch result {
            case .success(let outcome): self.stored(entries, outcome)
            case .failure(let error):
                self.book.finished([])
                self.error = "positions cannot be stored: \(error)"
                if self.told.isNews("\(error)", at: self.loop.now) {
                    self.logger.warning("positions could not be stored; trying again", metadata: [.error: "\(error)"])
                }
            }
            if self.book.hasUnsent, self.membership.consumers != nil { self.flushSoon() }
        }
    }

    private func stored(_ entries: [PositionBook.Entry], _ outcome: [ConsumerIdentity: ConsumerStore.Stored]) {
        note(locked: outcome.filter { $0.value == .locked }.map(\.key))
        book.finished(Set(outcome.filter { $0.value != .locked }.map(\.key)))
        for entry in entries where outcome[entry.consumer] == .fenced { onFenced(entry.consumer, entry.epoch) }
    }

    /// Rows that somebody else has locked are tried again and again; when that lasts it is a trouble.
    private func note(locked consumers: [ConsumerIdentity]) {
        lockedSince = consumers.isEmpty ? nil : lockedSince ?? loop.now
        guard let lockedSince, loop.now - lockedSince > Progress.stallTimeout else { return error = nil }
        error =
            "positions cannot be stored: somebody has locked the rows of \(consumers.map(\.description).sorted().joined(separator: ", "))"
    }
}
