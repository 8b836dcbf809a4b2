import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Signs of life, and what is learned with each.
extension PusherStore {
    func beat() {
        beatTimer?.cancel()
        guard let connection = usableWork, let registry, let trusted else { return }
        let begun = MonotonicTime.now
        let (present, settled) = (sessions(), settled())
        registry.beat(
            pusher, settled: settled, stored: stored, looked: looked(), generation: trusted.generation, on: connection
        ) { [unowned self] result in
            // A lost connection begins anew with a sign of life; a statement that failed is tried again soon.
            guard case .success(let pulse) = result else {
                // Not permitted: a new connection finds out what is so, such as a policy that would hide rows.
                if case .failure(let error) = result {
                    if error.isOfRowSecurity { return self.work.restart(because: error) }
                    self.endFrozen(because: error, on: connection)
                }
                return self.beat(after: min(self.beatInterval, .milliseconds(500)))
            }
            self.beat(after: self.beatInterval)
            guard let stored = pulse.stored else { return self.onDisagreement("the database is not in the state it was in") }
            self.stored = stored
            self.onStored(stored)
            self.keepSequence(beyond: settled, on: connection)
            self.keepMarks(settled, on: connection)
            self.upkeep.saw(pulse.sizes)
            guard pulse.isAlive else {
                self.logger.warning("other pushers gave this one up for dead; its sessions begin anew")
                self.onDeclaredDead()
                return self.work.restart(because: LookAgain(description: "declared dead"))
            }
            self.lastBeat = begun
            self.liveliness.saw(pulse.beats, at: begun)
            self.onOthers(pulse.beats.keys.contains { $0 != self.pusher })
            for (consumer, epoch) in present where pulse.owned[consumer] != epoch { self.onFenced(consumer, epoch) }
            // What a lost answer or an outage left behind would keep other pushers out for ever.
            for (consumer, epoch) in pulse.owned where !self.isServed(consumer) {
                self.consumers?.release(consumer, of: self.pusher, epoch: epoch, on: connection) { _ in }
            }
        }
    }

    private func keepSequence(beyond settled: EventID, on connection: Connection) {
        generations?.keepSequence(beyond: settled, on: connection) { [unowned self] result in
            guard case .success(let finding) = result else { return }
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

    private func beat(after pause: Duration) {
        beatTimer?.cancel()
        beatTimer = loop.schedule(after: pause) { [weak self] in self?.beat() }
    }
}
