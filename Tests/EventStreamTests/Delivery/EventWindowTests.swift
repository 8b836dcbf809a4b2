import EventStream
import EventStreamPusher
import TestSupport
import Testing

@Suite struct EventWindowTests {
    @Test func aWindowHoldsWhatComesAfterItsStart() {
        var window = EventWindow(after: 10, byteLimit: 1 << 20)
        #expect(window.covers(after: 10))
        #expect(!window.covers(after: 9))
        window.append(page(after: 10, events([12, 13])))
        window.append(page(after: 13, [], through: 20))
        window.append(page(after: 20, events([21])))
        #expect((window.start, window.end) == (10, 21))
        #expect(window.pages(after: 10).map(\.through) == [13, 21])
        #expect(window.pages(after: 12).map(\.through) == [13, 21])
        #expect(window.pages(after: 13).map(\.through) == [21])
        #expect(window.pages(after: 21).isEmpty)
    }

    @Test func pagesThatBringNothingNewAreIgnored() {
        var window = EventWindow(after: 10, byteLimit: 1 << 20)
        window.append(page(after: 10, events([11])))
        window.append(page(after: 10, events([11])))
        #expect(window.pages(after: 10).count == 1)
    }

    @Test func memoryIsBoundedAndTheNewestPageStays() {
        let size = page(after: 0, events([1])).byteCount
        var window = EventWindow(after: 0, byteLimit: size * 3 + size / 2)
        for id in 1...10 as ClosedRange<Int64> {
            window.append(page(after: EventID(id - 1), events([id])))
            #expect(window.byteCount <= size * 3 + size / 2)
        }
        #expect((window.start, window.end) == (7, 10))
        #expect(window.pages(after: 7).flatMap { $0.entries.map(\.id) } == [8, 9, 10])
        var small = EventWindow(after: 0, byteLimit: 1)
        small.append(page(after: 0, events(1...5)))
        #expect(small.covers(after: 0))
        small.append(page(after: 5, events([6])))
        #expect((small.start, small.end) == (5, 6))
    }

    @Test func whatTheWindowCoversIsComplete() throws {
        var random = SplitMix(seed: 23)
        for _ in 0..<50 {
            var window = EventWindow(after: 0, byteLimit: random.pick(1...3000))
            var all: [Int64] = []
            for _ in 0..<30 {
                let (after, count) = (window.end.rawValue, Int64(random.below(6)))
                let ids = (0..<count).map { after + 1 + $0 }.filter { _ in random.chance(70) }
                all += ids
                window.append(page(after: EventID(after), events(ids), through: EventID(after + count)))
                for position in window.start.rawValue...window.end.rawValue {
                    let group = EventGroup(
                        from: window.pages(after: EventID(position)), after: EventID(position), want: .all, fields: [],
                        limits: .init(events: 1000, bytes: .max))
                    #expect(group.count == all.count { $0 > position })
                }
            }
        }
    }
}
