import EventStream
import TestSupport
import Testing

@Suite struct EventGroupTests {
    private let unlimited = GroupLimits(events: 1000, bytes: .max)

    @Test func `known events are passed over and counted so that the group is read again to its end`() {
        let pages = [page(after: 0, events(1...8))]
        let known = EventIDSet([5...5])
        let first = EventGroup(
            from: pages, after: 0, want: .all, besides: known, fields: [], limits: .init(events: 6, bytes: 10_000))
        #expect(first.ids == [1, 2, 3, 4, 6, 7] && first.passedCount == 1)
        // As many rows as the database is asked for.
        let rows = [page(after: 0, events(1...Int64(first.count + first.passedCount)))]
        let again = EventGroup(
            from: rows, after: 0, through: 7, want: .all, besides: known, fields: [], limits: .init(events: 7, bytes: .max))
        #expect(again.ids == first.ids)
    }

    private func group(
        _ pages: [EventPage], after: EventID = .none, through: EventID = EventID(.max), want: EventFilter = .all,
        fields: EventFields = [], limits: GroupLimits? = nil
    ) -> EventGroup {
        EventGroup(
            from: pages, after: after, through: through, want: want, fields: fields, limits: limits ?? unlimited)
    }

    private func decoded(_ group: EventGroup) throws -> [Event] { try Event.list(decoding: RawJSON(validating: group.list)) }
    private func ids(_ group: EventGroup) throws -> [Int64] { try decoded(group).map(\.id.rawValue) }

    @Test func `a group takes what comes after the position out of several pages`() throws {
        let pages = [page(after: 0, events(1...3)), page(after: 3, events([5, 6]), through: 8), page(after: 8, events([9]))]
        let all = group(pages, after: 2)
        #expect(try ids(all) == [3, 5, 6, 9])
        #expect((all.first, all.last, all.through, all.count) == (3, 9, 9, 4))
        #expect(try ids(group(pages)) == [1, 2, 3, 5, 6, 9])
        #expect(try ids(group(pages, after: 6)) == [9])
    }

    @Test func aGroupOfNothingIsAnEmptyList() throws {
        let nothing = group([page(after: 0, events(1...3))], after: 3)
        #expect(String(decoding: nothing.list, as: UTF8.self) == "[]")
        #expect((nothing.first, nothing.last, nothing.through) == (nil, nil, 3))
        #expect(group([], after: 7).through == 7)
        #expect(group([page(after: 7, [], through: 12)], after: 7).through == 12)
    }

    @Test func unwantedEventsArePassedOver() throws {
        let mixed = (1...6).map { event($0, $0 % 2 == 0 ? "EVEN" : "ODD") }
        let pages = [page(after: 0, mixed)]
        let even = EventFilter([EventType("EVEN")!])!
        let taken = group(pages, want: even)
        #expect(try ids(taken) == [2, 4, 6])
        #expect(taken.through == 6)
        // Up to the last one looked at, not the last one taken.
        #expect(group(pages, want: even, limits: .init(events: 1, bytes: .max)).through == 3)
        let none = group(pages, want: EventFilter([EventType("OTHER")!])!)
        #expect((none.count, none.through) == (0, 6))
    }

    @Test func aGroupEndsWhereItIsTold() throws {
        let pages = [page(after: 0, events([1, 4, 6])), page(after: 6, events(7...9))]
        #expect(try ids(group(pages, through: 7)) == [1, 4, 6, 7])
        #expect(group(pages, through: 7).through == 7)
        #expect(try ids(group(pages, through: 5)) == [1, 4])
        #expect(group(pages, through: 5).through == 5)
    }

    @Test func aGroupIsCutByCount() throws {
        let pages = [page(after: 0, events(1...10))]
        for limit in 1...12 {
            let cut = group(pages, limits: .init(events: limit, bytes: .max))
            #expect(cut.count == min(limit, 10))
            #expect(cut.through == EventID(Int64(min(limit, 10))))
        }
    }

    @Test(arguments: [true, false])
    func aListNeverHasMoreBytesThanItMay(_ precise: Bool) throws {
        let pages = [
            page(
                after: 0,
                (1...20).map { event($0, data: "\"\(String(repeating: "x", count: Int($0) * 7))\"", microseconds: 999_999) })
        ]
        let exceeded = (200...2000).filter { limit in
            group(pages, fields: precise ? .microseconds : [], limits: .init(events: 1000, bytes: limit)).list.count > limit
        }
        #expect(exceeded.isEmpty)
    }

    @Test func anEventLargerThanTheLimitGoesAlone() throws {
        let pages = [page(after: 0, [event(1, data: "\"\(String(repeating: "x", count: 500))\""), event(2)])]
        #expect(try ids(group(pages, limits: .init(events: 1000, bytes: 100))) == [1])
        #expect(try ids(group(pages, after: 1, limits: .init(events: 1000, bytes: 100))) == [2])
    }

    @Test func successiveGroupsGiveEveryWantedEventOnce() throws {
        var random = SplitMix(seed: 11)
        for _ in 0..<100 {
            var pages: [EventPage] = []
            var position: Int64 = 0
            var wanted: [Int64] = []
            for _ in 0..<5 {
                let ids = (1...12).map { position + $0 }.filter { _ in random.chance(60) }
                let rows = ids.map { event($0, random.chance(50) ? "A" : "B", data: String($0)) }
                wanted += rows.filter { $0.type == EventType("A") }.map(\.id.rawValue)
                pages.append(page(after: EventID(position), rows, through: EventID(position + 12)))
                position += 12
            }
            let limits = GroupLimits(events: random.pick(1...7), bytes: random.pick(40...400))
            var (after, got): (EventID, [Int64]) = (.none, [])
            while after < EventID(position) {
                let next = group(pages, after: after, want: EventFilter([EventType("A")!])!, limits: limits)
                #expect(next.through > after)
                got += try ids(next)
                after = next.through
            }
            #expect(got == wanted)
        }
    }

    @Test func preciseAddsTheMicrosecondsOfEachEvent() throws {
        let rows = [event(1, microseconds: 1_000_001), event(2, microseconds: 1_999_999), event(3, microseconds: -1)]
        let pages = [page(after: 0, rows)]
        let precise = try decoded(group(pages, fields: .microseconds))
        #expect(precise.map(\.timestamp) == rows.map(\.timestamp))
        #expect(precise.map(\.isPrecise) == [true, true, true])
        let whole = try decoded(group(pages))
        #expect(whole.map(\.timestamp.microseconds) == [1_000_000, 1_000_000, -1_000_000])
        #expect(whole.map(\.isPrecise) == [false, false, false])
    }

    // MARK: Key and meta

    /// Some with, some without; the second page has none.
    private let mixed = [
        event(1), event(2, key: "k\"\u{1}\u{e9}"), event(3, meta: " { \"b\" : 1.0 }\n"), event(4), event(5, key: "", meta: "{}"),
        event(6),
    ]
    private var pages: [EventPage] { [page(after: 0, mixed), page(after: 6, events([7, 8]))] }

    @Test(
        arguments: [[], .microseconds, .key, .meta, [.key, .meta], [.microseconds, .key], .all] as [EventFields],
        [[1, 2, 3, 4, 5, 6, 7, 8], [2], [3, 4], [1, 5, 8], [6, 7]] as [[Int64]])
    func eachGetsTheFieldsItAskedFor(_ fields: EventFields, _ ids: [Int64]) throws {
        let known = EventIDSet((1...8).filter { !ids.contains($0) }.map { EventID($0)...EventID($0) })
        let group = EventGroup(from: pages, after: .none, want: .all, besides: known, fields: fields, limits: unlimited)
        let expected = (mixed + events([7, 8])).filter { ids.contains($0.id.rawValue) }.map {
            Event(
                id: $0.id, type: $0.type, data: $0.data, timestamp: $0.timestamp, isPrecise: fields.contains(.microseconds),
                key: fields.contains(.key) ? $0.key : nil, meta: fields.contains(.meta) ? $0.meta : nil)
        }
        #expect(try decoded(group) == expected)
        #expect(group.list.count <= group.bytes)
    }

    @Test func aPageWithKeysGivesTheSameBytesToThoseWhoDoNotAsk() {
        let plain = mixed.map { $0.with(only: []) }
        #expect(group([page(after: 0, mixed)]).list == group([page(after: 0, plain)]).list)
        #expect(group([page(after: 0, mixed)]).bytes == group([page(after: 0, plain)]).bytes)
    }

    @Test(arguments: [[.key], [.meta], .all] as [EventFields]) func keyAndMetaCountForTheLimit(_ fields: EventFields) {
        let rows = (1...20).map { id in
            event(
                id, key: id % 3 == 0 ? nil : String(repeating: "\u{1}", count: Int(id)),
                meta: id % 2 == 0 ? nil : "{\"a\":\"\(String(repeating: "x", count: Int(id) * 3))\"}")
        }
        let exceeded = (500...4000).filter { limit in
            group([page(after: 0, rows)], fields: fields, limits: .init(events: 1000, bytes: limit)).list.count > limit
        }
        #expect(exceeded.isEmpty)
    }

    @Test func eventsWithCertainKeysAreLeftOut() throws {
        let keys = [nil, "\"a\\\n", "b", "\"a\\\n", "é", nil]
        let events = keys.enumerated().map { index, key in
            Event(
                id: EventID(Int64(index + 1)), type: EventType(index == 3 ? "OTHER" : "A")!, data: .null,
                timestamp: EventTimestamp(microseconds: 7), key: key,
                meta: index == 1 ? RawJSON(unchecked: Array("{}".utf8)) : nil)
        }
        let pages = [page(after: 0, Array(events.prefix(3))), page(after: 3, Array(events.suffix(3)))]
        func left(_ keys: [String], _ limits: GroupLimits, _ want: EventFilter = .all) -> EventGroup {
            EventGroup(from: pages, after: .none, want: want, without: EventKeySet(keys), fields: [], limits: limits)
        }
        let group = left(["\"a\\\n", "é"], unlimited)
        #expect(try ids(group) == [1, 3, 6])
        #expect(group.leftOut == [events[1], events[3], events[4]])
        #expect((group.passedCount, group.lastLeftOut, group.through) == (3, 5, 6))
        #expect(left(["\"a\\\n"], unlimited, EventFilter([EventType("A")!])!).leftOut == [events[1]])
        // What is left out counts like a group of its own.
        let cut = left(["\"a\\\n", "é"], .init(events: 1, bytes: .max))
        #expect((cut.passedCount, cut.through) == (1, 2))
        #expect(group.firstOnly.leftOut.isEmpty)
        #expect(left([], unlimited).passedCount == 0)
    }
}
