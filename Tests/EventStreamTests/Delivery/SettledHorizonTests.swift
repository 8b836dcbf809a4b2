import EventStream
import EventStreamDatabase
import EventStreamPusher
import Testing

extension SettledHorizon {
    /// A look at the locks when 12 is the newest visible id, unless said otherwise.
    fileprivate mutating func look(_ present: Set<TableWriter>, newest: EventID = 12) -> Bool { holders(present, newest: newest) }
}

@Suite struct SettledHorizonTests {
    typealias Holder = TableWriter
    private let a = Holder(transaction: "3/1", processID: 1)
    private let b = Holder(transaction: "4/1", processID: 2)
    private let c = Holder(transaction: "5/1", processID: 3)

    private func prepared(_ number: Int) -> Holder { Holder(transaction: "-1/\(number)") }

    /// A stream settled up to 10 that shows these rows.
    private func horizon(showing ids: [EventID]) -> SettledHorizon {
        var horizon = SettledHorizon(settled: 10)
        _ = horizon.rows(ids, at: start)
        return horizon
    }

    @Test func contiguousRowsAreDeliverableAtOnce() {
        var horizon = SettledHorizon(settled: 10)
        #expect(horizon.rows([11, 12, 13], at: start) == 3)
        #expect(horizon.settled == 13)
        #expect(horizon.gap == nil)
        #expect(horizon.rows([], at: start) == 0)
        #expect(horizon.settled == 13)
    }

    @Test func rowsBeyondAGapWait() {
        var horizon = SettledHorizon(settled: 10)
        #expect(horizon.rows([11, 13, 14], at: start) == 1)
        #expect(horizon.settled == 11)
        #expect(horizon.gap?.after == 11)
        #expect(horizon.gap?.openedAt == start)
        #expect(horizon.rows([13, 14, 15], at: start + .seconds(1)) == 0)
        #expect(horizon.gap?.openedAt == start)
    }

    @Test func whoeverEndedBeforeTheFirstLookMayHaveFilledTheGap() {
        var horizon = horizon(showing: [12])
        // The writer of 11 has committed meanwhile; b holds the lock and has nothing to do with it.
        #expect(horizon.look([b]) == true, "rows are worth reading once more")
        #expect(horizon.rows([11, 12], at: start) == 2)
    }

    @Test func aTransactionOnItsWayToBeingPreparedIsNotTakenForANewcomer() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        // PostgreSQL 13.4 and older: the backend's lock for a moment, then the prepared transaction's.
        _ = horizon.look([Holder(transaction: "3/0", processID: 1)])
        #expect(horizon.rows([12], at: start) == 0)
        _ = horizon.look([prepared(981)])
        #expect(horizon.rows([12], at: start) == 0)
        #expect(horizon.look([]) == true)
        #expect(horizon.rows([11, 12], at: start) == 2)
    }

    @Test func aGapThatFillsIsDeliveredInOrder() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        #expect(horizon.rows([11, 12, 13], at: start) == 3)
        #expect(horizon.gap == nil)
    }

    @Test func aGapIsPermanentWhenNobodyHoldsTheLock() {
        var horizon = horizon(showing: [12, 13])
        #expect(horizon.look([], newest: 13) == true)
        #expect(horizon.rows([12, 13], at: start) == 2)
        #expect(horizon.settled == 13)
    }

    @Test func aGapIsPermanentOnceAllWhoHeldTheLockHaveEnded() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a, b]) == true)
        #expect(horizon.look([b]) == true)
        #expect(horizon.rows([12], at: start) == 0)
        #expect(horizon.look([b]) == false)
        #expect(horizon.look([]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func thoseWhoComeLaterHoldNothingBack() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        #expect(horizon.look([a, b]) == false)
        #expect(horizon.look([b, c]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func rowsSeenAfterTheHoldersMustWaitForALookOfTheirOwn() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        #expect(horizon.look([b], newest: 14) == true)
        // 13 is missing, and b may have it; up to 12 everything is known.
        #expect(horizon.rows([12, 14], at: start) == 1)
        #expect(horizon.settled == 12)
        #expect(horizon.look([b], newest: 14) == false)
        #expect(horizon.rows([14], at: start) == 0)
        #expect(horizon.look([], newest: 14) == true)
        #expect(horizon.rows([14], at: start) == 1)
    }

    @Test func rowsReadBeforeTheLookRaiseWhatTheLookProves() {
        var horizon = horizon(showing: [12])
        #expect(horizon.rows([12, 14, 16], at: start) == 0)
        #expect(horizon.look([], newest: 16) == true)
        #expect(horizon.rows([12, 14, 16], at: start) == 3)
    }

    @Test func oneLookServesAllGapsBelowTheHighestRowSeen() {
        var horizon = horizon(showing: [12, 14, 16])
        #expect(horizon.look([a, b], newest: 16) == true)
        #expect(horizon.look([a], newest: 16) == true)
        // b filled the first gap; what a may fill is still open.
        #expect(horizon.rows([11, 12, 14, 16], at: start) == 2)
        #expect(horizon.gap?.holders == [a])
        #expect(horizon.look([c], newest: 16) == true)
        #expect(horizon.rows([14, 16], at: start) == 2)
    }

    @Test func aShortPageDoesNotHideTheGapBehindIt() {
        var horizon = horizon(showing: [12, 13])
        #expect(horizon.look([], newest: 13) == true)
        #expect(horizon.rows([12], at: start) == 1)
        #expect(horizon.rows([13, 15], at: start) == 1)
        #expect(horizon.gap?.after == 13)
        #expect(horizon.rows([15], at: start) == 0)
    }

    @Test func withoutAGapHoldersMeanNothing() {
        var horizon = SettledHorizon(settled: 10)
        #expect(horizon.look([a], newest: 10) == false)
        #expect(horizon.look([], newest: 10) == false)
        #expect(horizon.rows([12], at: start) == 0)
    }

    @Test func aPreparedTransactionHoldsBackLikeAnyOther() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([prepared(1)]) == true)
        #expect(horizon.look([prepared(1), a]) == false)
        #expect(horizon.look([a]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func aTransactionThatIsPreparedKeepsHoldingUnderItsNewName() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        _ = horizon.look([prepared(7)])
        #expect(horizon.rows([12], at: start) == 0)
        #expect(horizon.look([prepared(7)]) == false)
        #expect(horizon.look([]) == true)
        #expect(horizon.rows([11, 12], at: start) == 2)
    }

    @Test func preparedTransactionsKnownBeforeAreNotMistakenForNewNames() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        // This one appears while a still runs: it is not a.
        #expect(horizon.look([a, prepared(8)]) == false)
        #expect(horizon.look([prepared(8)]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func whatAPreparedTransactionLeftIsNobodyElses() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([prepared(1)]) == true)
        // A prepared transaction can only end: the newcomer is a stranger.
        #expect(horizon.look([prepared(2)]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func aSteadyFlowOfPreparedTransactionsDoesNotHoldTheStreamForEver() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a]) == true)
        _ = horizon.look([prepared(1)])
        for number in 2..<100 { _ = horizon.look([prepared(number)]) }
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func oneLookServesWhateverIsVisibleHoweverShortThePage() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a], newest: 500) == true)
        #expect(horizon.look([b], newest: 900) == true)
        // Gaps far beyond the page that was read, and nobody but b at work: all that was visible before b came is settled.
        #expect(horizon.rows([12, 20, 300, 500], at: start) == 4)
        #expect(horizon.rows([501, 600], at: start) == 1)
        #expect(horizon.gap?.holders == [b])
    }

    @Test func aTransactionDelaysOnlyWhatMayComeAfterItsOwnEvents() {
        var horizon = horizon(showing: [12])
        #expect(horizon.look([a], newest: 12) == true)
        #expect(horizon.look([a], newest: 100) == false)
        // b began after 100 was visible; when a ends, all gaps up to there are permanent, however long b stays.
        #expect(horizon.look([a, b], newest: 200) == false)
        #expect(horizon.look([b], newest: 300) == true)
        #expect(horizon.rows([12, 50, 100, 103], at: start) == 3)
        #expect(horizon.gap?.holders == [b])
    }
}
