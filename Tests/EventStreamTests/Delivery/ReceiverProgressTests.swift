import EventStream
import EventStreamClient
import TestSupport
import Testing

@Suite struct ReceiverProgressTests {
    private var progress = ReceiverProgress()

    private mutating func arrive(_ sequence: UInt64, _ ids: ClosedRange<Int64>, rid: UInt64) -> ReceiverProgress.Arrival {
        progress.arrived(sequence: sequence, events: events(ids), rid: .server(rid))
    }

    private mutating func batch(limit: Int = 1000) -> [Int64]? { progress.nextBatch(limit: limit)?.events.map(\.id.rawValue) }
    private mutating func success() -> [UInt64] { progress.succeeded().compactMap { $0?.number } }
    private mutating func failure() -> [UInt64] { progress.failed().compactMap { $0?.number } }

    @Test mutating func groupsAreProcessedInOrderAndThenAnswered() {
        #expect(arrive(1, 3...4, rid: 11) == .kept)
        #expect(batch() == nil)
        #expect(arrive(0, 1...2, rid: 10) == .kept)
        #expect(batch() == [1, 2, 3, 4])
        #expect(progress.processed == 0)
        #expect(success() == [10, 11])
        #expect(progress.processed == 4)
        #expect(success() == [])
    }

    @Test mutating func nothingIsTakenForProcessedWhenTheStreamWentBack() {
        _ = (arrive(0, 1...2, rid: 10), arrive(1, 3...4, rid: 11))
        #expect(batch(limit: 2) == [1, 2])
        #expect(success() == [10])
        #expect(batch(limit: 2) == [3, 4])
        progress.streamWentBack()
        #expect(arrive(0, 2...3, rid: 20) == .kept)
        #expect(success() == [], "the session it came in is over")
        #expect(progress.processed == 0, "what was processed was of another generation")
        #expect(batch() == [2, 3])
        #expect(success() == [20])
        #expect(progress.processed == 3)
    }

    @Test mutating func oneBatchIsHandedOutAtATime() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        _ = arrive(1, 3...4, rid: 11)
        #expect(batch() == nil)
        #expect(success() == [10])
        #expect(batch() == [3, 4])
    }

    @Test mutating func aBatchStaysWithinTheLimitButTheFirstGroupAlwaysFits() {
        _ = (arrive(0, 1...5, rid: 10), arrive(1, 6...7, rid: 11), arrive(2, 8...9, rid: 12))
        #expect(batch(limit: 3) == [1, 2, 3, 4, 5])
        #expect(success() == [10])
        #expect(batch(limit: 4) == [6, 7, 8, 9])
    }

    @Test mutating func aGroupProcessedBeforeIsAnsweredAgain() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        #expect(success() == [10])
        #expect(arrive(0, 1...2, rid: 20) == .answerAgain)
        #expect(batch() == nil)
    }

    @Test mutating func aGroupSentAgainWhileItIsProcessedIsAnsweredOnceUnderItsNewestNumber() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        #expect(arrive(0, 1...2, rid: 20) == .kept)
        #expect(success() == [20])
    }

    @Test mutating func aGroupSentAgainWhileItWaitsIsAnsweredOnceUnderItsNewestNumber() {
        _ = (arrive(0, 1...2, rid: 10), arrive(0, 1...2, rid: 20))
        #expect(batch() == [1, 2])
        #expect(success() == [20])
    }

    @Test mutating func aFailedBatchIsAnsweredWithErrorsAndProcessedWhenItComesAgain() {
        _ = (arrive(0, 1...2, rid: 10), arrive(1, 3...4, rid: 11), arrive(2, 5...6, rid: 12))
        #expect(batch(limit: 4) == [1, 2, 3, 4])
        #expect(failure() == [10, 11])
        #expect(failure() == [])
        // What comes after it must wait.
        #expect(batch() == nil)
        _ = arrive(1, 3...4, rid: 21)
        #expect(batch() == nil)
        _ = arrive(0, 1...2, rid: 20)
        #expect(batch() == [1, 2, 3, 4, 5, 6])
        #expect(success() == [20, 21, 12])
    }

    @Test mutating func eventsProcessedInAnEarlierSessionAreDropped() {
        _ = arrive(0, 1...3, rid: 10)
        #expect(batch() == [1, 2, 3])
        #expect(success() == [10])
        progress.sessionStarted()
        _ = (arrive(0, 1...2, rid: 20), arrive(1, 3...5, rid: 21))
        #expect(batch() == [4, 5])
        #expect(success() == [20, 21])
    }

    @Test mutating func eventsProcessedInAnEarlierLifeAreDropped() {
        progress = ReceiverProgress(processed: 4)
        _ = arrive(0, 3...6, rid: 10)
        #expect(batch() == [5, 6])
    }

    @Test mutating func aBatchUnderWayWhenASessionStartsIsFinishedWithoutAnAnswer() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        progress.sessionStarted()
        _ = arrive(0, 1...3, rid: 20)
        #expect(batch() == nil)
        #expect(success() == [])
        #expect(batch() == [3])
        #expect(success() == [20])
    }

    @Test mutating func aBatchThatFailsAfterASessionStartedComesFromTheNewOne() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        progress.sessionStarted()
        #expect(failure() == [])
        _ = arrive(0, 1...3, rid: 20)
        #expect(batch() == [1, 2, 3])
    }

    @Test mutating func anOldNumberWithNewEventsIsASessionNobodyAnnounced() {
        _ = arrive(0, 1...2, rid: 10)
        #expect(batch() == [1, 2])
        #expect(success() == [10])
        #expect(arrive(0, 3...4, rid: 20) == .kept)
        #expect(batch() == [3, 4])
        #expect(success() == [20])
        #expect(arrive(1, 5...5, rid: 21) == .kept)
        #expect(batch() == [5])
    }

    @Test mutating func aBatchThatFailsIsNotSkippedByASessionNobodyAnnounced() {
        _ = (arrive(0, 1...2, rid: 10), arrive(1, 3...4, rid: 11), arrive(2, 5...6, rid: 12))
        #expect(batch(limit: 2) == [1, 2])
        #expect(success() == [10])
        #expect(batch() == [3, 4, 5, 6])
        // The session begins anew at an older position; its groups are cut in other places.
        #expect(arrive(0, 1...2, rid: 20) == .answerAgain)
        #expect(arrive(1, 3...5, rid: 21) == .kept)
        #expect(arrive(2, 6...8, rid: 22) == .kept)
        #expect(failure() == [])
        #expect(batch() == nil)
        #expect(progress.takeUntrusted().compactMap { $0?.number } == [21, 12])
        #expect(arrive(1, 3...5, rid: 23) == .kept)
        #expect(batch() == [3, 4, 5])
        #expect(success() == [23])
        #expect(arrive(2, 6...8, rid: 24) == .kept)
        #expect(batch() == [6, 7, 8])
    }

    @Test mutating func groupsThatWaitFromAnOlderSessionAreNotMixedIntoANewOne() {
        _ = (arrive(0, 1...4, rid: 10), arrive(1, 5...8, rid: 11), arrive(2, 9...12, rid: 12))
        #expect(batch(limit: 4) == [1, 2, 3, 4])
        // The lease ran out meanwhile: the same events come again, in smaller groups.
        _ = (arrive(0, 1...2, rid: 20), arrive(1, 3...4, rid: 21))
        _ = success()
        // 5 to 8 have not been delivered by anything that may still be trusted; they must come before 9.
        if let next = batch() { #expect(next.isEmpty || next.first == 5) }
        _ = success()
        #expect(arrive(2, 5...8, rid: 22) == .kept)
    }

    @Test mutating func anEmptyGroupIsAnsweredLikeAnyOther() {
        #expect(progress.arrived(sequence: 0, events: [], rid: .server(10)) == .kept)
        #expect(batch() == [])
        #expect(success() == [10])
        #expect(progress.arrived(sequence: 0, events: [], rid: .server(20)) == .answerAgain)
    }

    @Test mutating func numbersFarAheadAreRefused() {
        progress = ReceiverProgress(window: 4)
        #expect(arrive(3, 7...8, rid: 10) == .kept)
        #expect(arrive(4, 9...9, rid: 11) == .refused)
        #expect(arrive(.max, 9...9, rid: 12) == .refused)
    }

    @Test mutating func aLiveSessionGoesOnAcrossSkippedNumbers() {
        progress = ReceiverProgress(mayHaveGaps: true)
        _ = arrive(3, 10...12, rid: 10)
        #expect(batch() == [10, 11, 12])
        #expect(success() == [10])
        _ = (arrive(7, 20...21, rid: 12), arrive(5, 15...16, rid: 11))
        #expect(batch() == [15, 16])
        #expect(failure() == [11])
        #expect(batch() == [20, 21])
        #expect(success() == [12])
    }

    @Test func `a live session with gaps never goes back`() async {
        await Simulation.check(stepsEach: 100) { seed in
            var random = SplitMix(seed: seed)
            var progress = ReceiverProgress(mayHaveGaps: true)
            var (sequence, id, newest): (UInt64, Int64, Int64) = (0, 0, 0)
            var (expected, answered): (Int, Int) = (0, 0)
            for _ in 0..<100 {
                if random.chance(50) {
                    let group = events((id + 1)...(id + Int64(random.pick(1...4))))
                    id += Int64(group.count)
                    if random.chance(70) {
                        guard progress.arrived(sequence: sequence, events: group, rid: .server(sequence)) == .kept else {
                            return "refused"
                        }
                        expected += 1
                    }
                    sequence += 1
                }
                if random.chance(5) {
                    answered += progress.succeeded().count
                    progress.sessionStarted()
                    (sequence, expected, answered) = (0, 0, 0)
                }
                guard let batch = progress.nextBatch(limit: random.pick(1...10)) else { continue }
                for event in batch.events {
                    if event.id.rawValue <= newest { return "\(event.id) came after \(newest)" }
                    newest = event.id.rawValue
                }
                answered += (random.chance(80) ? progress.succeeded() : progress.failed()).count
                if answered > expected { return "more answers than calls" }
            }
            return nil
        }
    }

    // MARK: Partial processing

    private mutating func arrive(_ sequence: UInt64, _ ids: ClosedRange<Int64>, rid: UInt64, of session: Int64)
        -> ReceiverProgress.Arrival
    {
        progress.arrived(sequence: sequence, events: events(ids), rid: .server(rid), session: session)
    }

    @Test mutating func whatPrecedesAFailedEventIsAnsweredAndWhatFollowsWaits() {
        for sequence in 0..<3 as Range<UInt64> {
            let first = Int64(sequence) * 3 + 1
            #expect(arrive(sequence, first...first + 2, rid: 10 + sequence, of: 7) == .kept)
        }
        #expect(batch() == Array(1...9))
        let stop = progress.stopped(at: 5)
        #expect(stop.processed.map { $0?.number } == [10])
        #expect((stop.partly?.rid?.number, stop.partly?.through, stop.partly?.failed) == (11, 4, 5))
        #expect(stop.failed.isEmpty)
        #expect(progress.processed == 4)
        #expect(batch() == nil, "the rest of the group comes first")
        #expect(arrive(1, 5...6, rid: 20, of: 7) == .kept)
        #expect(batch() == [5, 6, 7, 8, 9])
        #expect(success() == [20, 12])
    }

    @Test mutating func aWholeGroupThatComesAgainBringsOnlyWhatIsNew() {
        _ = arrive(0, 1...3, rid: 10, of: 7)
        _ = batch()
        _ = progress.stopped(at: 3)
        // It was on its way when the answer was given.
        #expect(arrive(0, 1...3, rid: 11, of: 7) == .kept)
        #expect(batch() == [3])
        let stop = progress.stopped(at: 3)
        #expect((stop.partly?.rid?.number, stop.partly?.through, stop.partly?.failed) == (11, 2, 3))
    }

    @Test mutating func anotherSessionBeginsWithoutAWord() {
        _ = (arrive(0, 1...3, rid: 10, of: 7), arrive(1, 4...6, rid: 11, of: 7))
        #expect(batch(limit: 3) == [1, 2, 3])
        #expect(arrive(0, 1...2, rid: 20, of: 8) == .kept)
        #expect(success() == [], "the session it came in is over")
        #expect(batch() == [], "processed before")
        #expect(success() == [20])
        #expect(arrive(1, 3...4, rid: 21, of: 8) == .kept)
        #expect(batch() == [4])
    }

    @Test mutating func withoutPartialProcessingTheGroupsThatAreNotProcessedFail() {
        _ = (arrive(0, 1...2, rid: 10), arrive(1, 3...4, rid: 11), arrive(2, 5...6, rid: 12))
        #expect(batch() == Array(1...6))
        let stop = progress.stopped(at: 4)
        #expect(stop.processed.map { $0?.number } == [10])
        #expect(stop.partly == nil)
        #expect(stop.failed.map { $0?.number } == [11, 12])
        #expect(arrive(1, 3...4, rid: 20) == .kept)
        #expect(batch() == [4])
    }

    @Test mutating func whatIsConfirmedOnTheWayIsAnsweredByWholeGroups() {
        _ = (arrive(0, 1...2, rid: 10, of: 7), arrive(1, 3...4, rid: 11, of: 7))
        #expect(batch() == [1, 2, 3, 4])
        #expect(progress.succeeded(through: 1).isEmpty)
        #expect(progress.succeeded(through: 3).map { $0?.number } == [10])
        #expect(arrive(0, 1...2, rid: 12, of: 7) == .answerAgain)
        #expect(progress.processed == 3)
        #expect(success() == [11])
    }

    @Test mutating func aBatchOfASessionThatIsOverIsNotAnswered() {
        _ = arrive(0, 1...3, rid: 10, of: 7)
        _ = batch()
        progress.sessionStarted()
        let stop = progress.stopped(at: 2)
        #expect(stop.processed.isEmpty && stop.partly == nil && stop.failed.isEmpty)
        #expect(progress.processed == 1)
        #expect(arrive(0, 1...3, rid: 11, of: 8) == .kept)
        #expect(batch() == [2, 3])
    }

    private mutating func arriveParked(_ sequence: UInt64, _ id: Int64, rid: UInt64) -> ReceiverProgress.Arrival {
        progress.arrived(sequence: sequence, events: events(id...id), rid: .server(rid), session: 7, isParked: true)
    }

    @Test mutating func aParkedEventIsABatchOfItsOwnAndIsNotDroppedByItsId() {
        _ = (arrive(0, 5...6, rid: 10, of: 7), arriveParked(1, 2, rid: 11), arrive(2, 7...8, rid: 12, of: 7))
        #expect(batch() == [5, 6])
        #expect(success() == [10])
        #expect(progress.nextBatch(limit: 1000)?.isParked == true)
        #expect(success() == [11])
        #expect(arriveParked(1, 2, rid: 13) == .answerAgain)
        #expect(batch() == [7, 8])
        #expect(progress.processed == 6)
    }

    @Test mutating func aParkedEventThatFailsDoesNotHoldUpTheRow() {
        _ = (arriveParked(0, 2, rid: 10), arrive(1, 5...6, rid: 11, of: 7))
        _ = batch()
        let stop = progress.stopped(at: 2)
        #expect((stop.partly?.rid?.number, stop.partly?.through, stop.partly?.failed) == (10, nil, 2))
        #expect(batch() == [5, 6])
        #expect(arriveParked(0, 2, rid: 12) == .failedBefore)
        #expect(success() == [11])
    }

    /// An operator may have set the position back to before it.
    @Test mutating func aParkedEventSaysNothingOfThoseBeforeIt() {
        _ = (arriveParked(0, 9, rid: 10), arrive(1, 5...9, rid: 11, of: 7))
        _ = batch()
        #expect(success() == [10])
        #expect(progress.processed == 0)
        #expect(batch() == [5, 6, 7, 8, 9])
    }
}
