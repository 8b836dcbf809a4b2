import EventStream
import EventStreamPusher
import TestSupport
import Testing

@Suite struct ConsumerFeedTests {
    /// A window that holds (start, end].
    private func window(from start: Int64, to end: Int64) -> EventWindow {
        var window = EventWindow(after: EventID(start), byteLimit: 1 << 20)
        window.append(page(after: EventID(start), events((start + 1)...end)))
        return window
    }

    private func through(_ feed: inout ConsumerFeed, after cursor: EventID) -> EventID? { feed.page(after: cursor)?.through }

    @Test func aConsumerTheWindowCoversReadsNothing() {
        let feed = ConsumerFeed()
        #expect(feed.nextRead(after: 100, window: window(from: 100, to: 200), room: 4) == nil)
        #expect(feed.nextRead(after: 150, window: window(from: 100, to: 200), room: 4) == nil)
    }

    @Test func `a consumer behind reads up to the window's end as it was before`() {
        let feed = ConsumerFeed()
        let read = feed.nextRead(after: 99, window: window(from: 100, to: 200), room: 4)
        #expect(read?.after == 99)
        #expect(read?.through == 200)
    }

    @Test func theNextReadBeginsWhileThePageIsOnItsWay() throws {
        var feed = ConsumerFeed()
        let window = window(from: 100, to: 200)
        let first = try #require(feed.nextRead(after: 0, window: window, room: 4))
        feed.began(first)
        #expect(feed.nextRead(after: 0, window: window, room: 4) == nil, "one at a time")
        feed.returned(first, through: 40)
        let second = try #require(feed.nextRead(after: 0, window: window, room: 4))
        #expect(second.after == 40)
        feed.began(second)
        feed.add(page(after: 0, events(1...40)))
        #expect([0, 39, 40].map { through(&feed, after: $0) } == [40, 40, nil])
        feed.returned(second, through: 100)
        feed.add(page(after: 40, events(41...100)))
        #expect(feed.nextRead(after: 40, window: window, room: 4) == nil, "the window takes over")
    }

    @Test func noMoreIsReadThanThereIsRoomFor() throws {
        var feed = ConsumerFeed()
        let window = window(from: 100, to: 200)
        #expect(feed.nextRead(after: 0, window: window, room: 0) == nil)
        let read = try #require(feed.nextRead(after: 0, window: window, room: 1))
        feed.began(read)
        feed.returned(read, through: 40)
        #expect(feed.nextRead(after: 0, window: window, room: 1) == nil, "the page that arrives takes the room")
        feed.add(page(after: 0, events(1...40)))
        #expect(feed.nextRead(after: 0, window: window, room: 1) == nil)
        #expect(feed.nextRead(after: 40, window: window, room: 1) == nil, "until it has been taken")
        #expect([40].map { through(&feed, after: $0) } == [nil])
        #expect(feed.nextRead(after: 40, window: window, room: 1)?.after == 40)
    }

    @Test func aFailedReadIsMadeAgain() throws {
        var feed = ConsumerFeed()
        let read = try #require(feed.nextRead(after: 5, window: window(from: 100, to: 200), room: 4))
        feed.began(read)
        feed.failed(read)
        #expect(feed.nextRead(after: 5, window: window(from: 100, to: 200), room: 4) == read)
    }

    @Test func `what arrives after it was given up is not taken for what follows`() throws {
        var feed = ConsumerFeed()
        let window = window(from: 100, to: 200)
        let first = try #require(feed.nextRead(after: 0, window: window, room: 4))
        feed.began(first)
        feed.returned(first, through: 40)
        let second = try #require(feed.nextRead(after: 0, window: window, room: 4))
        feed.began(second)
        feed.add(page(after: 0, events(1...40)))
        feed.clear()
        // The second read comes back: its page would leave (0, 40] out.
        feed.returned(second, through: 80)
        feed.add(page(after: 40, events(41...80)))
        #expect([0].map { through(&feed, after: $0) } == [nil])
        #expect(feed.nextRead(after: 0, window: window, room: 4)?.after == 0)
    }

    /// Reads of random sizes, failures and pages given up, against a window that moves on.
    @Test func everyEventIsFedOnceAndInOrder() async {
        await Simulation.check(stepsEach: 400) { seed in
            var random = SplitMix(seed: seed)
            var feed = ConsumerFeed()
            var window = EventWindow(after: 0, byteLimit: random.pick(200...3000))
            var cursor: Int64 = 0
            var reading: ConsumerFeed.Read?
            for _ in 0..<400 {
                switch random.below(6) {
                case 0:
                    let end = window.end.rawValue + Int64(random.pick(1...8))
                    if end < 400 { window.append(page(after: window.end, events((window.end.rawValue + 1)...end))) }
                case 1, 2:
                    let room = random.pick(0...3)
                    guard reading == nil, let read = feed.nextRead(after: EventID(cursor), window: window, room: room)
                    else { break }
                    feed.began(read)
                    reading = read
                case 3:
                    guard let read = reading else { break }
                    reading = nil
                    guard random.chance(80) else {
                        feed.failed(read)
                        break
                    }
                    let through = min(read.through.rawValue, read.after.rawValue + Int64(random.pick(1...12)))
                    feed.returned(read, through: EventID(through))
                    if random.chance(50), let next = feed.nextRead(after: EventID(cursor), window: window, room: 3) {
                        feed.began(next)
                        reading = next
                    }
                    feed.add(page(after: read.after, events((read.after.rawValue + 1)...through)))
                case 4: if random.chance(10) { feed.clear() }
                default:
                    let pages: [EventPage]
                    if let page = feed.page(after: EventID(cursor)) {
                        pages = [page]
                    } else if window.covers(after: EventID(cursor)) {
                        pages = Array(window.pages(after: EventID(cursor)))
                    } else {
                        break
                    }
                    let group = EventGroup(
                        from: pages, after: EventID(cursor), want: .all, fields: [],
                        limits: .init(events: random.pick(1...9), bytes: .max))
                    guard let first = group.first, let last = group.last else { break }
                    guard first.rawValue == cursor + 1, last.rawValue == cursor + Int64(group.count) else {
                        return "after \(cursor) came \(first) to \(last), \(group.count) events"
                    }
                    cursor = last.rawValue
                }
                // A read that was given up still comes back.
                if reading == nil, random.chance(2) { feed.clear() }
            }
            return nil
        }
    }
}
