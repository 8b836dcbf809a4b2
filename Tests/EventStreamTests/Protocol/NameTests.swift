import EventStream
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

    @Test(arguments: ["A", "Z", "_", "__", "USR_ADD", "ABCDEFGH", "ABCDEFGHI", "ABCDEFGHIJKLMNOP", "________________"])
    func eventTypesAreOneToSixteenCapitalsAndUnderscores(_ text: String) {
        #expect(EventType(text)?.description == text)
        #expect(EventType(text)?.utf8 == Array(text.utf8))
    }

    @Test(arguments: ["", "a", "A1", "A B", "A-B", "É", "ABCDEFGHIJKLMNOPQ", "A\n", "\0", "Å", "@", "[", "`", "Ａ"])
    func nothingElseIsAnEventType(_ text: String) {
        #expect(EventType(text) == nil)
    }

    @Test func differentEventTypesAreDifferent() {
        let names =
            (1...16).flatMap { length in ["A", "B", "_"].map { String(repeating: $0, count: length) } } + ["AB", "BA", "A_"]
        #expect(Set(names.map { EventType($0)! }).count == names.count)
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
