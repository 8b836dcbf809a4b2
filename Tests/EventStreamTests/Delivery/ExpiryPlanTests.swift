import EventStream
import EventStreamDatabase
import Testing

/// Which months of a history are dropped.
@Suite struct ExpiryPlanTests {
    private func month(_ number: Int, _ ids: ClosedRange<EventID>?, isOver: Bool = true) -> ExpiryPlan.Month {
        var month = ExpiryPlan.Month(first: "2026-0\(number)-01 00:00:00.000000", end: "2026-0\(number + 1)-01 00:00:00.000000")
        (month.ids, month.isOver, month.events) = (ids, isOver, ids == nil ? 0 : 10)
        return month
    }

    private func plan(_ months: [ExpiryPlan.Month], discarded: EventID) -> ExpiryPlan {
        ExpiryPlan(before: "2026-03-01 00:00:00", months: months, discarded: discarded)
    }

    private func id(_ value: Int64) -> EventID { EventID(value) }

    /// Why each month stays; nil for one that goes.
    private func reasons(_ plan: ExpiryPlan) -> [String?] {
        plan.months.map {
            if case .stays(let why) = $0.verdict { why } else { nil }
        }
    }

    @Test func `months that are over go, the oldest first, and others are not named`() {
        let plan = plan([month(1, id(1)...id(10)), month(2, nil), month(3, id(9)...id(30), isOver: false)], discarded: id(30))
        #expect(plan.going.map(\.name) == ["2026-01", "2026-02"])
        #expect(plan.months.count == 2 && plan.events == 10 && plan.last == id(10))
    }

    @Test func `a month with an event that is not discarded stays`() {
        let plan = plan(
            [month(1, id(1)...id(10)), month(2, id(11)...id(20)), month(3, id(21)...id(30), isOver: false)], discarded: id(19))
        #expect(plan.going.map(\.name) == ["2026-01"])
        #expect(reasons(plan) == [nil, "event 20 is not discarded in the active table yet"])
    }

    @Test func `a month of which an archiver lacks something stays`() {
        var first = month(1, id(1)...id(10))
        first.lacking = "local:ODD has archived events up to 4 only"
        let plan = plan([first, month(2, id(11)...id(20)), month(3, id(21)...id(30), isOver: false)], discarded: id(30))
        #expect(plan.going.map(\.name) == ["2026-02"])
        #expect(reasons(plan) == [first.lacking, nil])
    }

    @Test func `ids that overlap at the turn of a month keep nothing`() {
        let plan = plan(
            [month(1, id(1)...id(15)), month(2, id(9)...id(25)), month(3, id(20)...id(30), isOver: false)], discarded: id(30))
        #expect(plan.going.count == 2 && plan.last == id(25))
    }

    @Test func `a month with an event recorded long after its time stays`() {
        let late = month(1, id(1)...id(90))
        let present = [month(3, id(21)...id(30), isOver: false), month(4, id(31)...id(99), isOver: false)]
        #expect(reasons(plan([late] + present, discarded: id(99))).first??.hasPrefix("event 90 was recorded after") == true)
        // Once all it came with has ended, it goes.
        #expect(plan([late, month(4, id(31)...id(99))], discarded: id(99)).going.count == 2)
        // One that stays keeps those before it only as far as its own events go.
        let months = [month(1, id(1)...id(15)), month(2, id(11)...id(90))] + present
        #expect(reasons(plan(months, discarded: id(99))).map { $0 == nil } == [true, false])
    }
}
