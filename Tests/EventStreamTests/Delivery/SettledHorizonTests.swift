import EventStream
import Testing

@Suite struct SettledHorizonTests {
    typealias Holder = SettledHorizon.Holder
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

    @Test func aGapThatFillsIsDeliveredInOrder() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        #expect(horizon.rows([11, 12, 13], at: start) == 3)
        #expect(horizon.gap == nil)
    }

    @Test func aGapIsPermanentWhenNobodyHoldsTheLock() {
        var horizon = horizon(showing: [12, 13])
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([12, 13], at: start) == 2)
        #expect(horizon.settled == 13)
    }

    @Test func aGapIsPermanentOnceAllWhoHeldTheLockHaveEnded() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a, b]) == false)
        #expect(horizon.holders([b]) == true)
        #expect(horizon.rows([12], at: start) == 0)
        #expect(horizon.holders([b]) == false)
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func thoseWhoComeLaterHoldNothingBack() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        #expect(horizon.holders([a, b]) == false)
        #expect(horizon.holders([b, c]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func rowsSeenAfterTheHoldersMustWaitForALookOfTheirOwn() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        #expect(horizon.holders([b]) == true)
        // 13 is missing, and b may have it; up to 12 everything is known.
        #expect(horizon.rows([12, 14], at: start) == 1)
        #expect(horizon.settled == 12)
        #expect(horizon.holders([b]) == false)
        #expect(horizon.rows([14], at: start) == 0)
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([14], at: start) == 1)
    }

    @Test func rowsReadBeforeTheLookRaiseWhatTheLookProves() {
        var horizon = horizon(showing: [12])
        #expect(horizon.rows([12, 14, 16], at: start) == 0)
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([12, 14, 16], at: start) == 3)
    }

    @Test func oneLookServesAllGapsBelowTheHighestRowSeen() {
        var horizon = horizon(showing: [12, 14, 16])
        #expect(horizon.holders([a, b]) == false)
        #expect(horizon.holders([a]) == true)
        // b filled the first gap; what a may fill is still open.
        #expect(horizon.rows([11, 12, 14, 16], at: start) == 2)
        #expect(horizon.gap?.holders == [a])
        #expect(horizon.holders([c]) == true)
        #expect(horizon.rows([14, 16], at: start) == 2)
    }

    @Test func aShortPageDoesNotHideTheGapBehindIt() {
        var horizon = horizon(showing: [12, 13])
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([12], at: start) == 1)
        #expect(horizon.rows([13, 15], at: start) == 1)
        #expect(horizon.gap?.after == 13)
        #expect(horizon.rows([15], at: start) == 0)
    }

    @Test func withoutAGapHoldersMeanNothing() {
        var horizon = SettledHorizon(settled: 10)
        #expect(horizon.holders([a]) == false)
        #expect(horizon.holders([]) == false)
        #expect(horizon.rows([12], at: start) == 0)
    }

    @Test func aPreparedTransactionHoldsBackLikeAnyOther() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([prepared(1)]) == false)
        #expect(horizon.holders([prepared(1), a]) == false)
        #expect(horizon.holders([a]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func aTransactionThatIsPreparedKeepsHoldingUnderItsNewName() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        _ = horizon.holders([prepared(7)])
        #expect(horizon.rows([12], at: start) == 0)
        #expect(horizon.holders([prepared(7)]) == false)
        #expect(horizon.holders([]) == true)
        #expect(horizon.rows([11, 12], at: start) == 2)
    }

    @Test func preparedTransactionsKnownBeforeAreNotMistakenForNewNames() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        // This one appears while a still runs: it is not a.
        #expect(horizon.holders([a, prepared(8)]) == false)
        #expect(horizon.holders([prepared(8)]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func whatAPreparedTransactionLeftIsNobodyElses() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([prepared(1)]) == false)
        // A prepared transaction can only end: the newcomer is a stranger.
        #expect(horizon.holders([prepared(2)]) == true)
        #expect(horizon.rows([12], at: start) == 1)
    }

    @Test func aSteadyFlowOfPreparedTransactionsDoesNotHoldTheStreamForEver() {
        var horizon = horizon(showing: [12])
        #expect(horizon.holders([a]) == false)
        _ = horizon.holders([prepared(1)])
        for number in 2..<100 { _ = horizon.holders([prepared(number)]) }
        #expect(horizon.rows([12], at: start) == 1)
    }
}
