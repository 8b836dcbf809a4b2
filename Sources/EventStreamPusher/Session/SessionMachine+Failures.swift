import EventStream

// What a session's receiver cannot process, and what follows from it (protocol, sections 8.2 and 8.3).
extension SessionMachine {
    // MARK: Failures

    mutating func failed(_ group: ConsumerDelivery.Group, isAlone: Bool, _ error: String) -> Attempts.Verdict {
        // What comes before it may still be processed.
        guard group.sequence == delivery.firstInFlight else { return .again }
        let verdict = attempts.failed(group.first, isAlone: isAlone, error)
        switch verdict {
        case .again: break
        case .isolate:
            isolated = group.last
            beginAnew(after: delivery.confirmed)
        case .park: isParking = true
        }
        return verdict
    }

    /// The connection closes: the receiver may have died of an event that was in flight alone. ``isParking`` tells if it is to be set aside.
    mutating func countClose() {
        guard let first = delivery.inFlight.first, first.isSent, first.count == 1, !first.isParked, !isParking else { return }
        _ = failed(first, isAlone: true, "the connection was closed before an answer")
    }

    /// Looks whether the answer to the first event in flight is overdue: a group of several says nothing about one of them.
    ///
    /// - Returns: nil if nothing has failed.
    mutating func overdue(at now: MonotonicTime) -> Attempts.Verdict? {
        guard maySend, let first = delivery.overdue(at: now), first.count == 1, !first.isParked else { return nil }
        return failed(first, isAlone: true, "no answer in time")
    }

    /// The event has been set aside, and the session goes on behind it under another epoch.
    ///
    /// - Parameter key: the event's; what follows of this key is set aside, too.
    mutating func parked(_ id: EventID, key: String?, epoch: Int64) {
        guard isParking else { return }
        (isParking, self.epoch) = (false, epoch)
        if let key { followers.block(key) }
        beginAnew(after: id)
    }

    /// The event could not be set aside: it is sent again.
    mutating func parkingFailed() { isParking = false }

    // MARK: Parked events that are delivered again

    /// Whether a parked event may be sent now; one is in flight at a time.
    var mayRetryParked: Bool { isPartial && maySend && delivery.canTakeGroup && delivery.parkedInFlight == nil }

    mutating func tookParked(_ id: EventID, at now: MonotonicTime) -> ConsumerDelivery.Group { delivery.tookParked(id, at: now) }

    /// The parked event whose answer is overdue; it has failed.
    mutating func overdueParked(at now: MonotonicTime) -> EventID? {
        maySend ? delivery.overdueParked(at: now)?.first : nil
    }

    mutating func answered(
        _ rid: UInt64, _ answer: GroupAnswer, of parked: (group: ConsumerDelivery.Group, isPresent: Bool), at now: MonotonicTime
    ) -> Answered {
        guard answer == .processed || parked.isPresent else { return .waiting }
        // Failed or not, the row goes on behind it.
        _ = delivery.answered(rid, .processed, at: now)
        return .parked(parked.group.first, error: answer.error, position)
    }

    /// What was sent may have data that was erased since: the session begins anew, and everything is read again.
    mutating func forgetSent() { beginAnew(after: position) }
}
