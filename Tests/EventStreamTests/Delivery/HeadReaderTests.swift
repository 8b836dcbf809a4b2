import EventStream
import EventStreamDatabase
import EventStreamPusher
import Testing

@Suite struct HeadReaderTests {
    typealias Holder = TableWriter
    private let writer = Holder(transaction: "3/1", processID: 1)

    private func reader(_ configure: (inout HeadReader.Configuration) -> Void = { _ in }) -> HeadReader {
        var configuration = HeadReader.Configuration()
        configuration.latch = .init(shortestPause: .milliseconds(1), longestPause: .milliseconds(20))
        configure(&configuration)
        var reader = HeadReader(settled: 10, configuration)
        _ = reader.started(as: .waker)
        return reader
    }

    /// A turn that shows these rows without a look at the locks.
    private func showing(_ ids: [EventID]) -> HeadReader {
        var reader = reader()
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 10))
        _ = reader.sawRows(ids, isCut: false, at: start)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        return reader
    }

    @Test func withoutAGapOnlyRowsAreRead() {
        var reader = reader()
        #expect(reader.begin(isAsked: true, at: start) == .rows(after: 10))
        #expect(reader.sawRows([11, 12], isCut: false, at: start) == 2)
        #expect(reader.isFresh)
        #expect(reader.end(latched: nil, isAsked: false, at: start) == .read(.take))
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 12))
    }

    @Test func aYoungGapIsNotWorthALookAtTheLocks() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: false, at: start + .milliseconds(2)) == .rows(after: 10))
        _ = reader.sawRows([12] as [EventID], isCut: false, at: start)
        #expect(!reader.isFresh)
        #expect(reader.end(latched: nil, isAsked: false, at: start) == .pause(.milliseconds(1)), "pauses do not grow")
        #expect(reader.begin(isAsked: false, at: start + .milliseconds(3)) == .holders(withNewest: true))
    }

    @Test func whoAsksMakesAYoungGapWorthALook() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
    }

    @Test func theLookComesBeforeTheRows() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
        #expect(reader.sawHolders([], newest: 12, took: .zero, at: start) == .rows(after: 10))
        #expect(reader.sawRows([12] as [EventID], isCut: false, at: start) == 1)
        #expect(reader.isFresh)
    }

    @Test func nothingIsDeliveredAcrossAnIdTheSequenceHasNotGiven() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
        #expect(reader.sawHolders([], newest: 12, drawn: 11, took: .zero, at: start) == .advance(beyond: 12))
        #expect(!reader.isFresh)
        // The sequence has moved on; whoever drew an earlier id holds the lock still.
        #expect(reader.sawHolders([], newest: 12, drawn: 112, took: .zero, at: start) == .rows(after: 10))
        #expect(reader.sawRows([11, 12] as [EventID], isCut: false, at: start) == 2)
    }

    @Test func whileAWriterHoldsTheStreamBackRowsAreNotRead() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
        // Once, for whoever has ended before.
        #expect(reader.sawHolders([writer], newest: 12, took: .zero, at: start) == .rows(after: 10))
        #expect(reader.sawRows([12] as [EventID], isCut: false, at: start) == 0)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: false), "only the first look finds the newest")
        #expect(reader.sawHolders([writer], took: .zero, at: start) == nil)
        #expect(reader.isFresh, "what is held back by an open transaction cannot be waited for")
        guard case .pause = reader.end(latched: nil, isAsked: false, at: start) else {
            Issue.record("no pause")
            return
        }
        #expect(reader.begin(isAsked: false, at: start) == .holders(withNewest: false))
        #expect(reader.sawHolders([], took: .zero, at: start) == .rows(after: 10))
    }

    @Test func howeverDearALookWasTheNextOneIsNotLongAfterIt() {
        var reader = showing([12])
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
        #expect(reader.sawHolders([writer], newest: 12, took: .seconds(1), at: start) == .rows(after: 10))
        _ = reader.sawRows([12] as [EventID], isCut: false, at: start)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        #expect(reader.begin(isAsked: false, at: start + .milliseconds(19)) == nil)
        #expect(reader.begin(isAsked: false, at: start + .milliseconds(20)) == .holders(withNewest: false))
    }

    /// A turn with a read that passes many rows and finds none.
    private func lulled() -> HeadReader {
        var reader = reader()
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 10))
        #expect(reader.sawRows([] as [EventID], isCut: false, took: .milliseconds(100), at: start) == 0)
        _ = reader.end(latched: false, isAsked: false, at: start)
        return reader
    }

    @Test func aDearReadThatFoundNothingIsNotMadeAgainBeforeAWriterEnds() {
        var reader = lulled()
        #expect(reader.begin(isAsked: false, at: start) == .holders(withNewest: false))
        // Once, for whoever has ended before the look.
        #expect(reader.sawHolders([writer], drawn: 900, took: .zero, at: start) == .rows(after: 10))
        #expect(reader.sawRows([] as [EventID], isCut: false, took: .milliseconds(100), at: start) == 0)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        let other = Holder(transaction: "4/1", processID: 2)
        for _ in 0..<3 {
            #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: false))
            // What those record who have come since, comes after.
            #expect(reader.sawHolders([writer, other], drawn: 950, took: .zero, at: start) == nil)
            #expect(reader.isFresh)
            guard case .pause = reader.end(latched: nil, isAsked: false, at: start) else {
                Issue.record("no pause")
                return
            }
        }
        #expect(reader.begin(isAsked: false, at: start) == .holders(withNewest: false))
        #expect(reader.sawHolders([other], drawn: 950, took: .zero, at: start) == .rows(after: 10))
        #expect(reader.sawRows([11, 12], isCut: false, took: .milliseconds(100), at: start) == 2)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 12))
    }

    @Test func aDearReadIsMadeAgainWhereNobodyIsKnownToHaveWhatIsMissing() {
        for (holders, drawn) in [([writer], 10), ([writer], nil), ([], 900)] as [(Set<Holder>, EventID?)] {
            var reader = lulled()
            #expect(reader.begin(isAsked: false, at: start) == .holders(withNewest: false))
            #expect(reader.sawHolders(holders, drawn: drawn, took: .zero, at: start) == .rows(after: 10))
            #expect(reader.sawRows([] as [EventID], isCut: false, at: start) == 0)
            _ = reader.end(latched: nil, isAsked: false, at: start)
            #expect(reader.begin(isAsked: false, at: start) == .rows(after: 10))
        }
    }

    @Test func aDearLookIsSeldomMade() {
        var reader = showing([12])
        let cost = Duration.milliseconds(1)
        #expect(reader.begin(isAsked: true, at: start) == .holders(withNewest: true))
        #expect(reader.sawHolders([writer], newest: 12, took: cost, at: start) == .rows(after: 10))
        _ = reader.sawRows([12] as [EventID], isCut: false, at: start)
        _ = reader.end(latched: nil, isAsked: false, at: start)
        #expect(reader.begin(isAsked: false, at: start + cost * 9) == nil)
        // Whoever asks waits for the next look, and not in a spin.
        #expect(!reader.isFresh)
        #expect(reader.end(latched: nil, isAsked: true, at: start + cost * 9) == .pause(cost))
        #expect(reader.begin(isAsked: true, at: start + cost * 10) == .holders(withNewest: false))
    }

    @Test func aPageThatWasCutIsNotFresh() {
        var reader = reader()
        #expect(reader.begin(isAsked: true, at: start) == .rows(after: 10))
        #expect(reader.sawRows([11, 12], isCut: true, at: start) == 2)
        #expect(!reader.isFresh)
        #expect(reader.end(latched: nil, isAsked: true, at: start) == .read(.leave))
        #expect(reader.begin(isAsked: true, at: start) == .rows(after: 12))
        #expect(reader.sawRows([13], isCut: false, at: start) == 1)
        #expect(reader.isFresh)
    }

    @Test func whoAsksWhileATurnRunsGetsATurnOfHisOwnAtOnce() {
        var reader = reader()
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 10))
        _ = reader.sawRows([] as [EventID], isCut: false, at: start)
        #expect(reader.end(latched: nil, isAsked: true, at: start) == .read(.take))
        #expect(reader.begin(isAsked: true, at: start) == .rows(after: 10))
        _ = reader.sawRows([] as [EventID], isCut: false, at: start)
        #expect(reader.end(latched: true, isAsked: true, at: start) == .read(.leave))
    }

    @Test func aNewConnectionForgetsWhatTheOldOneKnewOfLocks() {
        var reader = showing([12])
        _ = reader.begin(isAsked: true, at: start)
        _ = reader.sawHolders([writer], newest: 12, took: .seconds(1), at: start)
        #expect(reader.started(as: .waker) == .read(.leave))
        #expect(reader.gap == nil)
        #expect(reader.begin(isAsked: false, at: start) == .rows(after: 10))
    }

    @Test func theLatchIsNotTakenWhileEventsWaitBehindAGap() {
        var reader = showing([12])
        #expect(reader.timerFired() == .read(.leave))
    }
}
