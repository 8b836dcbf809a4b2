import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// How far consumers are: noted at once, stored together soon after.
extension PusherStore {
    /// Stores the session's last position and gives the consumer up.
    func release(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID, completion: @escaping () -> Void = {}) {
        guard let connection = usableWork, let consumers, let trusted else {
            // Stored once the database is known again, unless somebody has the consumer by then.
            book.note(consumer, epoch: epoch, position: position)
            return completion()
        }
        // Kept until it is stored: somebody may have the row locked, for an instant or for long.
        note(consumer, epoch: epoch, position: position)
        let entry = PositionBook.Entry(consumer: consumer, epoch: epoch, position: position)
        consumers.store([entry], of: trusted.generation, on: connection) { [unowned self] result in
            if let outcome = (try? result.get())?[consumer], outcome != .locked { self.book.forget(entry) }
        }
        consumers.release(consumer, of: pusher, epoch: epoch, on: connection) { [unowned self] _ in
            self.whenStored(entry, until: .now + PusherStore.releasePatience, completion)
        }
    }

    /// Whoever ends a session waits so long at most for its position to be stored.
    private static let releasePatience = Duration.seconds(3)

    private func whenStored(_ entry: PositionBook.Entry, until deadline: MonotonicTime, _ completion: @escaping () -> Void) {
        guard let waiting = book.entry(of: entry.consumer), waiting.epoch == entry.epoch, MonotonicTime.now < deadline else {
            return completion()
        }
        loop.schedule(after: flushDelay) { [weak self] in
            if let self { self.whenStored(entry, until: deadline, completion) } else { completion() }
        }
    }

    func note(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
        book.note(consumer, epoch: epoch, position: position)
        guard flushTimer == nil else { return }
        flushTimer = loop.schedule(after: flushDelay) { [weak self] in
            guard let self else { return }
            self.flushTimer = nil
            self.flush()
        }
    }

    func flush() {
        guard let connection = usableWork, let consumers, let trusted else { return }
        let entries = book.take()
        guard !entries.isEmpty else { return }
        consumers.store(entries, of: trusted.generation, on: connection) { [unowned self] result in
            switch result {
            case .success(let outcome):
                self.lookAtSizes(on: connection)
                self.note(locked: outcome.filter { $0.value == .locked }.map(\.key))
                self.book.finished(Set(outcome.filter { $0.value != .locked }.map(\.key)))
                for entry in entries where outcome[entry.consumer] == .fenced {
                    self.onFenced(entry.consumer, entry.epoch)
                }
            case .failure(let error):
                self.book.finished([])
                self.endFrozen(because: error, on: connection)
                self.errors.positions = "positions cannot be stored: \(error)"
                if self.told.isNews("positions: \(error)") {
                    self.logger.warning("positions could not be stored; trying again", metadata: [.error: "\(error)"])
                }
            }
            guard self.book.hasUnsent, self.flushTimer == nil, self.usableWork != nil else { return }
            self.flushTimer = self.loop.schedule(after: self.flushDelay) { [weak self] in
                guard let self else { return }
                self.flushTimer = nil
                self.flush()
            }
        }
    }

    /// Rows that somebody else has locked are tried again and again; when that lasts it is a trouble.
    private func note(locked consumers: [ConsumerIdentity]) {
        lockedSince = consumers.isEmpty ? nil : lockedSince ?? .now
        guard let lockedSince, MonotonicTime.now - lockedSince > Progress.patience else { return errors.positions = nil }
        errors.positions =
            "positions cannot be stored: somebody has locked the rows of \(consumers.map(\.description).sorted().joined(separator: ", "))"
    }
}
