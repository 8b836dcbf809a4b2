import EventStream
import TestSupport
import Testing

@Suite struct SliceCallTests {
    @Test func sliceNamesAreReadAndWritten() {
        let slice = EventSlice(3, of: 8)
        let consumer = ConsumerIdentity(user: "shop", component: ConsumerComponent("C")!.cut(slice))
        #expect("\(consumer)" == "shop:C/3.8" && ConsumerIdentity("shop:C/3.8") == consumer)
        #expect(consumer.whole == ConsumerIdentity("shop:C") && consumer.whole.slices(8)[3] == consumer)
        for text in ["C/", "C/3", "C/8.8", "C/03.8", "C/3.8.1", "C/-1.8", "C/3.257", "C/0.1", "C/3.8/1", "/3.8"] {
            #expect(ConsumerIdentity(text) == nil, "\(text)")
        }
    }

    @Test func everyEventIsInOneSlice() {
        for count in EventSlice.counts {
            for number in [0, 1, UInt64.max, 14_598_278_634_844_962_250, 1 << 63] {
                #expect((0..<count).filter { EventSlice($0, of: count)!.contains(number) } == [Int(number % UInt64(count))])
            }
        }
    }

    @Test func aGroupHasTheEventsOfItsSlice() {
        let keys = (0..<50).map { $0 % 3 == 0 ? nil : "\"k\\é\n\($0 % 9)" }
        let events = keys.enumerated().map { index, key in
            Event(
                id: EventID(Int64(index + 1)), type: EventType("A")!, data: .null, timestamp: EventTimestamp(microseconds: 0),
                key: key)
        }
        let pages = [page(after: 0, events)]
        var all: [EventID] = []
        for index in 0..<4 {
            let slice = EventSlice(index, of: 4)!
            let group = EventGroup(
                from: pages, after: .none, want: .all, in: slice, fields: [], limits: .init(events: 100, bytes: .max))
            let expected = events.filter { slice.contains(EventSlice.number(of: ($0.key ?? "\($0.id)").utf8)) }.map(\.id)
            #expect(group.ids == expected && group.through == 50)
            all += group.ids
        }
        #expect(all.sorted() == events.map(\.id))
    }
}
