import EventStream
import EventStreamPusher
import Testing

@Suite struct ConsumerDeliveryTests {
    private static let configuration = ConsumerDelivery.Configuration(
        requestMax: 2, ackTimeout: .seconds(30), errorPause: .milliseconds(100), longestErrorPause: .milliseconds(500))

    private var delivery = ConsumerDelivery(after: 10, configuration: configuration)

    /// Takes a group up to this id and sends it.
    private mutating func send(last: EventID, rid: UInt64, at now: MonotonicTime = start) -> ConsumerDelivery.Group {
        let group = delivery.took((last, last, 1), through: last, at: now)
        delivery.sent(group.sequence, rid: rid, at: now)
        return group
    }

    @Test mutating func groupsAreNumberedFromZeroAndFollowEachOther() {
        let (first, second) = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        #expect((first.sequence, first.after, first.last) == (0, 10, 12))
        #expect((second.sequence, second.after, second.last) == (1, 12, 15))
        #expect(delivery.eventsInFlight == 2)
    }

    @Test mutating func theWindowIsFullWithSoManyGroupsUnanswered() {
        #expect(delivery.canTakeGroup)
        _ = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        #expect(!delivery.canTakeGroup)
        #expect(delivery.answered(1, .processed, at: start) == .confirmed(12))
        #expect(delivery.canTakeGroup)
    }

    @Test mutating func oneStuckGroupDoesNotMakeTheWindowGrowForEver() {
        _ = send(last: 11, rid: 0)
        var rid: UInt64 = 1
        while delivery.canTakeGroup, rid < 10_000 {
            _ = send(last: EventID(Int64(11 + rid)), rid: rid)
            #expect(delivery.answered(rid, .processed, at: start) == .waiting)
            rid += 1
        }
        #expect(delivery.inFlight.count <= 100)
        #expect(delivery.confirmed == 10)
    }

    @Test mutating func aGroupThatHasNotGoneOutYetIsNotOvertaken() {
        let group = delivery.took((12, 12, 1), through: 12, at: start)
        delivery.postponed(group.sequence, until: start + .milliseconds(20))
        #expect(!delivery.canTakeGroup)
        delivery.sent(group.sequence, rid: 1, at: start + .milliseconds(20))
        #expect(delivery.canTakeGroup)
        // Sent again, it may be: the receiver knows its number.
        delivery.connectionLost(at: start + .seconds(1))
        #expect(delivery.canTakeGroup)
    }

    @Test mutating func thePositionMovesOnlyOverTheAnsweredPrefix() {
        _ = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        #expect(delivery.answered(2, .processed, at: start) == .waiting)
        #expect(delivery.confirmed == 10)
        #expect(delivery.answered(1, .processed, at: start) == .confirmed(15))
        #expect(delivery.inFlight.isEmpty)
    }

    @Test mutating func anAnswerThatDoesNotComeMakesTheGroupDueAgain() {
        let group = send(last: 12, rid: 1)
        #expect(delivery.nextDeadline == start + .seconds(30))
        #expect(delivery.due(at: start + .seconds(29)).isEmpty)
        let again = delivery.due(at: start + .seconds(30))
        #expect(again.map(\.sequence) == [group.sequence])
        #expect((again[0].after, again[0].last, again[0].count) == (10, 12, 1))
    }

    @Test mutating func anErrorIsRetriedAfterAPauseThatDoubles() {
        let group = send(last: 12, rid: 1)
        var now = start
        for (attempt, milliseconds) in [100, 200, 400, 500, 500].enumerated() {
            let pause = Duration.milliseconds(milliseconds)
            guard case .retry(let retried, let after, _) = delivery.answered(UInt64(attempt + 1), .failed("no"), at: now) else {
                Issue.record("an error must be retried")
                return
            }
            #expect((retried.sequence, after) == (group.sequence, pause))
            #expect(delivery.due(at: now + pause - .nanoseconds(1)).isEmpty)
            now += pause
            #expect(delivery.due(at: now).count == 1)
            delivery.sent(group.sequence, rid: UInt64(attempt + 2), at: now)
        }
    }

    @Test mutating func aLateAnswerToAnEarlierSendCounts() {
        let group = send(last: 12, rid: 1)
        delivery.sent(group.sequence, rid: 2, at: start + .seconds(30))
        #expect(delivery.answered(1, .processed, at: start + .seconds(31)) == .confirmed(12))
        #expect(delivery.answered(2, .processed, at: start + .seconds(31)) == .unknown)
    }

    @Test mutating func aLateErrorToAnEarlierSendSaysNothing() {
        let group = send(last: 12, rid: 1)
        delivery.sent(group.sequence, rid: 2, at: start + .seconds(30))
        #expect(delivery.answered(1, .failed("late"), at: start + .seconds(31)) == .waiting)
        #expect(delivery.nextDeadline == start + .seconds(60))
    }

    @Test mutating func aRepeatedErrorDoesNotLengthenThePause() {
        _ = send(last: 12, rid: 1)
        _ = delivery.answered(1, .failed("no"), at: start)
        #expect(delivery.answered(1, .failed("no"), at: start + .milliseconds(50)) == .waiting)
        #expect(delivery.nextDeadline == start + .milliseconds(100))
    }

    @Test mutating func anErrorAfterSuccessSaysNothing() {
        _ = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        #expect(delivery.answered(2, .processed, at: start) == .waiting)
        #expect(delivery.answered(2, .failed("no"), at: start) == .waiting)
        #expect(delivery.answered(1, .processed, at: start) == .confirmed(15))
    }

    @Test mutating func inventedAnswersChangeNothing() {
        _ = send(last: 12, rid: 1)
        for rid in [0, 2, UInt64.max] {
            #expect(delivery.answered(rid, .processed, at: start) == .unknown)
            #expect(delivery.answered(rid, .failed("no"), at: start) == .unknown)
        }
        #expect(delivery.confirmed == 10)
    }

    @Test mutating func unwantedEventsMoveThePositionAtOnceIfNothingIsInFlight() {
        #expect(delivery.passedOver(through: 20) == 20)
        #expect((delivery.cursor, delivery.confirmed) == (20, 20))
        #expect(delivery.passedOver(through: 20) == nil)
        #expect(delivery.passedOver(through: 5) == nil)
        #expect(delivery.cursor == 20)
    }

    @Test mutating func unwantedEventsMoveThePositionWithTheAnswerBeforeThem() {
        _ = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        #expect(delivery.passedOver(through: 30) == nil)
        #expect(delivery.cursor == 30)
        #expect(delivery.answered(1, .processed, at: start) == .confirmed(12))
        #expect(delivery.answered(2, .processed, at: start) == .confirmed(30))
        // The range sent again would not change by it.
        #expect(send(last: 33, rid: 3).after == 30)
    }

    @Test mutating func aLostConnectionMakesUnansweredGroupsDueAtOnce() {
        _ = (send(last: 12, rid: 1), send(last: 15, rid: 2))
        _ = delivery.answered(2, .processed, at: start)
        delivery.connectionLost(at: start + .seconds(1))
        #expect(delivery.due(at: start + .seconds(1)).map(\.sequence) == [0])
    }

    @Test mutating func aGroupThatCouldNotBeSentIsDueLater() {
        let group = delivery.took((12, 12, 1), through: 12, at: start)
        #expect(delivery.due(at: start).map(\.sequence) == [0])
        delivery.postponed(group.sequence, until: start + .seconds(1))
        #expect(delivery.due(at: start).isEmpty)
        #expect(delivery.nextDeadline == start + .seconds(1))
        delivery.postponed(77, until: start)
        delivery.sent(77, rid: 1, at: start)
        #expect(delivery.answered(1, .processed, at: start) == .unknown)
    }

    // MARK: Partial processing

    /// Takes a group of these events and sends it.
    private mutating func send(_ ids: ClosedRange<Int64>, rid: UInt64, through: EventID? = nil) {
        let (first, last) = (EventID(ids.lowerBound), EventID(ids.upperBound))
        let group = delivery.took(
            (first, last, ids.count), ids: ids.map { EventID($0) }, through: through ?? last, at: start)
        delivery.sent(group.sequence, rid: rid, at: start)
    }

    @Test mutating func thePositionMovesOverWhatWasProcessedOfAGroupAndTheRestComesAgain() {
        send(11...15, rid: 1)
        let outcome = delivery.answered(1, .partly(through: 13, failed: 14, error: "no"), at: start)
        guard case .retry(let group, .milliseconds(100), true) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect((group.sequence, group.after, group.first, group.last, group.count) == (0, 13, 14, 15, 2))
        #expect(delivery.confirmed == 13)
        #expect(delivery.eventsInFlight == 2)
        delivery.sent(0, rid: 2, at: start + .milliseconds(100))
        #expect(delivery.answered(2, .processed, at: start + .milliseconds(100)) == .confirmed(15))
    }

    @Test mutating func ofALaterGroupThePrefixCountsOnceThoseBeforeAreAnswered() {
        send(11...12, rid: 1)
        send(13...15, rid: 2)
        _ = delivery.answered(2, .partly(through: 13, failed: 14, error: "no"), at: start)
        #expect(delivery.confirmed == 10)
        #expect(delivery.answered(1, .processed, at: start) == .confirmed(13))
        delivery.sent(1, rid: 3, at: start)
        #expect(delivery.answered(3, .processed, at: start) == .confirmed(15))
    }

    @Test mutating func theFirstEventMayFail() {
        send(11...12, rid: 1)
        guard case .retry(let group, _, true) = delivery.answered(1, .partly(through: nil, failed: 11, error: ""), at: start)
        else {
            Issue.record("must be sent again")
            return
        }
        #expect((group.after, group.first, group.count) == (10, 11, 2))
        #expect(delivery.confirmed == 10)
    }

    @Test(arguments: [
        GroupAnswer.partly(through: 13, failed: 15, error: ""), .partly(through: 13, failed: 13, error: ""),
        .partly(through: nil, failed: 12, error: ""), .partly(through: 15, failed: 16, error: ""),
        .partly(through: 10, failed: 11, error: ""), .partly(through: 99, failed: 100, error: ""),
    ])
    mutating func whatDoesNotNameTheNextEventIsAFailureOfTheWhole(_ answer: GroupAnswer) {
        send(11...15, rid: 1)
        guard case .retry(let group, _, false) = delivery.answered(1, answer, at: start) else {
            Issue.record("must be sent again")
            return
        }
        #expect((group.after, group.first, group.count) == (10, 11, 5))
        #expect(delivery.confirmed == 10)
    }

    @Test mutating func whereGroupsAreAnsweredAsAWholeAPartIsAFailure() {
        _ = send(last: 12, rid: 1)
        guard case .retry(_, _, false) = delivery.answered(1, .partly(through: nil, failed: 12, error: ""), at: start) else {
            Issue.record("must be sent again")
            return
        }
    }

    @Test mutating func aPartInAnAnswerToAnEarlierSendSaysNothing() {
        send(11...15, rid: 1)
        delivery.sent(0, rid: 2, at: start + .seconds(30))
        #expect(delivery.answered(1, .partly(through: 13, failed: 14, error: ""), at: start + .seconds(31)) == .waiting)
        #expect(delivery.confirmed == 10)
        // Processed after all, it was.
        #expect(delivery.answered(1, .processed, at: start + .seconds(31)) == .confirmed(15))
    }
}
