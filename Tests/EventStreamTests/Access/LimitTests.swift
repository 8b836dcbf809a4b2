import EventStream
import EventStreamGenerator
import EventStreamPusher
import EventStreamServer
import TestSupport
import Testing

@Suite struct RateMeterTests {
    private let start = MonotonicTime.now

    @Test func aSecondsWorthIsAllowedAsMuchRefusedAndTheRestIgnored() {
        var meter = RateMeter(rate: 10, at: start)
        let verdicts = (0..<30).map { _ in meter.charge(at: start) }
        #expect(
            verdicts == Array(repeating: .allowed, count: 10) + Array(repeating: .refused, count: 10)
                + Array(repeating: .ignored, count: 10))
        // A tenth of a second later there is room for one.
        let later = start + .milliseconds(101)
        #expect((0..<3).map { _ in meter.charge(at: later) } == [.allowed, .refused, .ignored])
        let muchLater = meter.verdict(at: start + .seconds(3))
        #expect(muchLater == .allowed)
    }

    /// Whatever is asked and when: what is allowed stays within the rate, and a flood does not take it away.
    @Test func whatIsAllowedDependsOnTheRateOnly() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for rate in [1, 7, 100] {
            for flood in [1, 3, 50] {
                var meter = RateMeter(rate: rate, at: start)
                var allowed = 0
                let seconds = 20
                for tick in 0..<(seconds * 1000) where random.next() % 1000 < UInt64(min(1000, rate * flood)) {
                    if meter.charge(at: start + .milliseconds(tick)) == .allowed { allowed += 1 }
                }
                #expect(allowed <= rate * (seconds + 1), "\(rate) \(flood)")
                if flood == 50, rate * flood <= 1000 {
                    #expect(allowed >= rate * seconds * 9 / 10, "\(rate) \(flood): \(allowed)")
                }
            }
        }
    }

    @Test func aClockThatStandsStillDoesNoHarm() {
        var meter = RateMeter(rate: 1, at: start)
        let verdicts = [start - .seconds(5), start].map { meter.charge(at: $0) }
        #expect(verdicts == [.allowed, .refused])
    }
}

@Suite struct ConnectionLimitTests {
    @Test func theOldestThatSaysNothingHasToGo() {
        var limit = ConnectionLimit(2)
        #expect([5, 6].map { limit.connected($0) } == [nil, nil])
        limit.heard(5)
        let silent = limit.connected(7)
        #expect(silent == 6)
        limit.disconnected(6)
        #expect(limit.count == 2)
        limit.heard(7)
        // All have something to say: the newest.
        let newest = limit.connected(8)
        #expect(newest == 8)
    }

    /// Descriptors are used again and again; against a model that remembers everything.
    @Test func itAgreesWithAModel() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for _ in 0..<200 {
            let most = Int(random.next() % 8) + 1
            var limit = ConnectionLimit(most)
            var open: [(connection: Int32, isHeard: Bool)] = []
            for _ in 0..<500 {
                let connection = Int32(random.next() % 16)
                switch random.next() % 3 {
                case 0:
                    guard !open.contains(where: { $0.connection == connection }) else { continue }
                    open.append((connection, false))
                    var expected: Int32?
                    if open.count > most {
                        let victim = open.firstIndex { !$0.isHeard } ?? open.count - 1
                        expected = open[victim].connection
                    }
                    let cut = limit.connected(connection)
                    #expect(cut == expected)
                    // What is cut has disconnected by the time of the next.
                    if let expected {
                        limit.disconnected(expected)
                        open.removeAll { $0.connection == expected }
                    }
                case 1:
                    limit.heard(connection)
                    if let index = open.firstIndex(where: { $0.connection == connection }) { open[index].isHeard = true }
                default:
                    limit.disconnected(connection)
                    open.removeAll { $0.connection == connection }
                }
                #expect(limit.count == open.count)
            }
        }
    }
}

@Suite struct QueueTests {
    @Test func whoeverPutsInMuchWaitsForItself() {
        var queue = FairQueue<String, Int>()
        for number in 0..<1000 { queue.append(number, of: "flood", weight: 2) }
        queue.append(7, of: "other")
        let fair = queue.take(100, share: 10)
        #expect(fair == Array(0..<10) + [7])
        #expect((queue.count, queue.weight, queue.weight(of: "flood")) == (990, 1980, 1980))
        // Alone it may have all there is room for.
        let alone = queue.take(100, share: 10)
        #expect(alone == Array(10..<110))
    }

    /// Nothing is lost or comes twice, each owner's order is kept, sums are right, and nobody waits while others get much.
    @Test func aFairQueueIsFairAndKeepsOrder() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for _ in 0..<200 {
            var queue = FairQueue<Int, (owner: Int, number: Int)>()
            var (put, got) = ([Int](repeating: 0, count: 8), [Int](repeating: 0, count: 8))
            for _ in 0..<200 {
                if random.oneIn(3) {
                    let limit = Int(random.next() % 20) + 1
                    let owners = (0..<8).filter { put[$0] > got[$0] }
                    let taken = queue.take(limit, share: 3)
                    for (owner, number) in taken {
                        #expect(number == got[owner])
                        got[owner] += 1
                    }
                    let all = owners.reduce(0) { $0 + put[$1] - got[$1] } + taken.count
                    #expect(taken.count <= limit && (owners.count > 1 || taken.count == min(limit, all)))
                    if owners.count <= limit { #expect(Set(taken.map(\.owner)) == Set(owners), "somebody was passed over") }
                } else {
                    let owner = Int(random.next() % 8)
                    queue.append((owner, put[owner]), of: owner, weight: 1)
                    put[owner] += 1
                }
                #expect(queue.count == put.reduce(0, +) - got.reduce(0, +) && queue.weight == queue.count)
            }
            let rest = queue.takeAll().count
            #expect(rest == put.reduce(0, +) - got.reduce(0, +) && queue.isEmpty && queue.weight == 0)
        }
    }

    @Test func turnsAreTakenFewAtATime() {
        var turns = TurnQueue<String, Int>(ownerLimit: 4, limit: 6)
        var outcomes = (1...5).map { turns.add($0, of: "a", atOnce: 2) }
        #expect(outcomes == [.begins, .begins, .waits, .waits, .refused])
        // Of all together there are too many when b's third comes; c, who has none, is let in once.
        outcomes = [(6, "b"), (7, "b"), (8, "b"), (9, "c"), (10, "c")].map { turns.add($0.0, of: $0.1) }
        #expect(outcomes == [.begins, .waits, .refused, .begins, .refused])
        let next = ["a", "a", "a", "a", "b", "b", "c", "nobody"].map { turns.ended(of: $0) }
        #expect(next == [3, 4, nil, nil, 7, nil, nil, nil])
        #expect(turns.count == 0)
    }
}

@Suite struct SubscriberTopicsTests {
    private static func types(_ names: String...) -> EventFilter { EventFilter(Set(names.map { EventType($0)! }))! }
    private static func known(_ names: String...) -> Set<EventType> { Set(names.map { EventType($0)! }) }
    private static func bytes(_ names: String...) -> Set<[UInt8]> { Set(names.map { Array($0.utf8) }) }

    @Test func whoMaySeeAllGetsWhatItAskedFor() {
        var topics = SubscriberTopics(types: .all)
        let taken = [Array("A".utf8), []].allSatisfy { topics.subscribe($0) }
        #expect(taken)
        #expect(topics.given(known: Self.known("AB")) == Self.bytes("A", ""))
        topics.unsubscribe([])
        #expect(topics.given(known: []) == Self.bytes("A"))
        #expect(!topics.isBetrayed(by: EventType("AB")!, given: Self.bytes("A")))
    }

    @Test func othersGetTheirTypesOneByOne() {
        var topics = SubscriberTopics(types: Self.types("ORDER", "REFUND"))
        _ = topics.subscribe([])
        #expect(topics.given(known: []) == Self.bytes("ORDER", "REFUND"))
        #expect(topics.given(known: Self.known("ORDER_PAID", "X")) == Self.bytes("REFUND"))
        topics.unsubscribe([])
        for prefix in ["ORD", "SALARY"] { _ = topics.subscribe(Array(prefix.utf8)) }
        #expect(topics.given(known: []) == Self.bytes("ORDER"))
        #expect(topics.isBetrayed(by: EventType("ORDER_PAID")!, given: Self.bytes("ORDER")))
        #expect(!topics.isBetrayed(by: EventType("ORDER")!, given: Self.bytes("ORDER")))
        #expect(!topics.isBetrayed(by: EventType("SALARY")!, given: Self.bytes("ORDER")))
    }

    @Test func whoMaySeeAPrefixGetsItAndWhatBeginsWithIt() {
        var topics = SubscriberTopics(types: EventFilter(entries: ["order.*", "REFUND"])!)
        _ = topics.subscribe(Array("or".utf8))
        #expect(topics.given(known: Self.known("order.paid", "order", "orders")) == Self.bytes("order."))
        topics.unsubscribe(Array("or".utf8))
        for prefix in ["order.paid", "orders"] { _ = topics.subscribe(Array(prefix.utf8)) }
        #expect(topics.given(known: []) == Self.bytes("order.paid"))
        _ = topics.subscribe([])
        #expect(topics.given(known: []) == Self.bytes("order.", "order.paid", "REFUND"))
        #expect(topics.given(known: Self.known("REFUND_ALL")) == Self.bytes("order.", "order.paid"))
        #expect(!topics.isBetrayed(by: EventType("order.paid.v2")!, given: Self.bytes("order.")))
        #expect(topics.isBetrayed(by: EventType("REFUND_ALL")!, given: Self.bytes("REFUND")))
    }

    /// Whatever is asked for, seen and known: no prefix that is given matches a known type that is hidden.
    @Test func nothingThatIsGivenMatchesAHiddenType() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        func name() -> String { String((0..<(random.next() % 3 + 1)).map { _ in random.oneIn(2) ? "A" : "B" }) }
        for _ in 0..<5000 {
            let mine = Set((0..<3).map { _ in EventType(name())! })
            let known = Set((0..<4).map { _ in EventType(name())! })
            let prefixes = Set((0..<(random.next() % 3)).map { _ in EventType(name())! })
            let filter = EventFilter(mine, prefixes: prefixes)!
            var topics = SubscriberTopics(types: filter)
            for _ in 0..<3 { _ = topics.subscribe(random.oneIn(4) ? [] : Array(name().utf8)) }
            let given = topics.given(known: known)
            for type in known {
                let isMatched = given.contains { type.utf8.starts(with: $0) }
                #expect(!isMatched || filter.wants(type))
                #expect(!topics.isBetrayed(by: type, given: given))
            }
            // And as much as can be: what is asked for and begins no hidden type.
            for type in mine where topics.asked.contains(where: { type.utf8.starts(with: $0) }) {
                let beginsHidden = known.contains { !filter.wants($0) && $0.utf8.starts(with: type.utf8) }
                #expect(given.contains { type.utf8.starts(with: $0) } == !beginsHidden)
            }
        }
    }

    @Test func moreThanPlausibleIsTooMuch() {
        var topics = SubscriberTopics(types: .all)
        let first = (0..<256).allSatisfy { topics.subscribe(Array("T\($0)".utf8)) }
        let (again, more) = (topics.subscribe(Array("T0".utf8)), topics.subscribe(Array("MORE".utf8)))
        #expect(first && again && !more)
        var long = SubscriberTopics(types: .all)
        let taken = (0..<5).map { long.subscribe([UInt8](repeating: $0, count: 1000)) }
        #expect(taken == [true, true, true, true, false])
    }
}
