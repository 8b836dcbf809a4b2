import EventStream
import TestSupport
import Testing

@Suite struct NameTests {
    @Test(arguments: ["1", "9", "10", "999999999999999999"])
    func eventIDsAreOneToEighteenDigits(_ text: String) {
        #expect(EventID(text)?.description == text)
    }

    @Test(arguments: [
        "", "0", "01", "-1", "+1", "1 ", " 1", "1.0", "1e3", "1000000000000000000", "99999999999999999999", "１", "x", "1\0",
    ])
    func nothingElseIsAnEventID(_ text: String) {
        #expect(EventID(text) == nil)
    }

    @Test func eventIDsFollowEachOther() {
        #expect(EventID.none.next == 1)
        #expect(EventID(41).next == 42)
        #expect(EventID(9) < EventID(10))
    }

    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-")

    @Test(arguments: ["A", "Z", "_", "__", "USR_ADD", "ABCDEFGH", "ABCDEFGHI", "ABCDEFGHIJKLMNOP", "________________"])
    func narrowTypesAreOneToSixteenCapitalsAndUnderscores(_ text: String) {
        #expect(EventType(text)?.description == text)
        #expect(EventType(text)?.utf8 == Array(text.utf8))
        #expect(EventType(text)?.isNarrow == true)
    }

    @Test(arguments: [
        "a", "A1", "A-B", "ABCDEFGHIJKLMNOPQ", "order.paid.v2", "urn:x/y-z", "0", ".", String(repeating: "z", count: 64),
    ])
    func wideTypesHaveMoreCharactersAndAreLonger(_ text: String) {
        #expect(EventType(text)?.description == text && EventType(text)?.isNarrow == false)
    }

    @Test func everyCharacterAndLengthReadsBack() {
        for length in 1...64 {
            for first in Self.alphabet.indices {
                let text = String((0..<length).map { Self.alphabet[(first + $0 * 7) % Self.alphabet.count] })
                #expect(EventType(text)?.description == text)
            }
        }
        for byte in UInt8.min...UInt8.max {
            let isAllowed = Self.alphabet.contains(Character(UnicodeScalar(byte)))
            #expect((EventType(wire: [byte]) != nil) == isAllowed)
            #expect((EventType(wire: Array(repeating: 0x41, count: 20) + [byte]) != nil) == isAllowed)
        }
    }

    @Test(arguments: ["", "A B", "É", "A\n", "\0", "Å", "@", "[", "`", "Ａ", "A*", "*", String(repeating: "A", count: 65)])
    func nothingElseIsAnEventType(_ text: String) {
        #expect(EventType(text) == nil)
    }

    @Test func differentEventTypesAreDifferent() {
        let names =
            (1...64).flatMap { length in ["A", "B", "_", "-"].map { String(repeating: $0, count: length) } } + ["AB", "BA", "A_"]
            + (17..<64).map { String(repeating: "A", count: $0) + "B" }
        #expect(Set(names.map { EventType($0)! }).count == names.count)
        for (one, other) in zip(names, names.dropFirst()) {
            #expect(EventType(one)!.hasPrefix(EventType(other)!) == one.hasPrefix(other))
        }
    }

    @Test func whatTwoFiltersWantIsWhatBothWant() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        func name() -> String { String((0..<(random.next() % 4 + 1)).map { _ in random.oneIn(2) ? "A" : "." }) }
        func filter() -> EventFilter {
            EventFilter(entries: (0..<(random.next() % 3 + 1)).map { _ in random.oneIn(2) ? name() : name() + "*" })!
        }
        for _ in 0..<5000 {
            let (one, other) = (filter(), filter())
            let both = one.intersection(other)
            #expect(both == other.intersection(one))
            #expect(one.intersection(one) == one && one.intersection(.all) == one)
            for _ in 0..<20 {
                let type = EventType(name())!
                #expect((both?.wants(type) ?? false) == (one.wants(type) && other.wants(type)))
            }
            #expect(EventFilter(entries: one.entries!) == one)
        }
    }

    @Test func aListNamesTypesAndPrefixes() {
        let filter = EventFilter(entries: ["ORDER_*", "REFUND", "a.b*"])
        #expect(filter?.entries == ["ORDER_*", "REFUND", "a.b*"] && filter?.isNarrow == false)
        for (type, isWanted) in [
            "ORDER_": true, "ORDER_PAID": true, "ORDER": false, "REFUND": true, "REFUND_": false, "a.b.c": true,
        ] {
            #expect(filter?.wants(EventType(type)!) == isWanted)
        }
        #expect(EventFilter(entries: ["A", "*"]) == .all)
        for wrong in [[], [""], ["**"], ["A*B"], ["A", "B C*"], ["é*"], [String(repeating: "A", count: 65) + "*"]] {
            #expect(EventFilter(entries: wrong) == nil)
        }
    }

    @Test func aFilterWantsAllOrTheTypesItNames() {
        let (a, b) = (EventType("A")!, EventType("B")!)
        #expect(EventFilter.all.wants(a))
        #expect(EventFilter(nil) == .all)
        #expect(EventFilter([a])?.wants(a) == true)
        #expect(EventFilter([a])?.wants(b) == false)
        #expect(EventFilter([]) == nil)
    }

    @Test(arguments: ["C", "c9_", "0", "_", "ABCDEFGHIJKLMNOP", "LIVE"])
    func componentsAreOneToSixteenLettersDigitsAndUnderscores(_ name: String) {
        #expect(ConsumerComponent(name)?.name == name)
    }

    @Test(arguments: ["", "ABCDEFGHIJKLMNOPQ", "a-b", "a b", "a:b", "é", "a\0", "A\n", "Ａ", "@", "[", "{", "/"])
    func nothingElseIsAComponent(_ name: String) {
        #expect(ConsumerComponent(name) == nil)
    }

    @Test func liveIsReserved() {
        #expect(ConsumerComponent("LIVE")?.isLive == true)
        #expect(ConsumerComponent("live")?.isLive == false)
        #expect(ConsumerComponent.archiver == ConsumerComponent("ARCHIVER"))
    }

    @Test func aConsumerIsAUserAndAComponent() {
        let identity = ConsumerIdentity("shop:MAIL")
        #expect(identity == ConsumerIdentity(user: "shop", component: ConsumerComponent("MAIL")!))
        #expect(identity?.description == "shop:MAIL")
        #expect(ConsumerIdentity("MAIL")?.description == "local:MAIL")
        #expect(ConsumerIdentity(identity!.description) == identity)
    }

    @Test(arguments: ["", ":", "a:", ":B", "a:b:c", "a:b c", "a b", String(repeating: "u", count: 60) + ":ABCD"])
    func nothingElseIsAConsumer(_ text: String) {
        #expect(ConsumerIdentity(text) == nil)
    }

    @Test func aConsumerFitsItsColumn() {
        #expect(ConsumerIdentity(String(repeating: "u", count: 59) + ":ABCD")?.description.utf8.count == 64)
    }
}
