import EventStream
import EventStreamServer
import Testing

@Suite struct AuthorizedKeysTests {
    static func key(_ number: UInt8) -> CurveKey { CurveKey(bytes: [UInt8](repeating: number, count: 32))! }

    private static func decode(_ text: String) throws -> AuthorizedKeys { try AuthorizedKeys(decoding: Array(text.utf8)) }

    @Test func usersAreReadWithTheirRights() throws {
        let keys = try Self.decode(
            """
            # who may connect

            billing   \(Self.key(1).z85)  push components=BILLING,INVOICES types=ORDER_PAID,REFUND  # rotated in May
            billing\t\(Self.key(2).z85)\tpush\tpoll\t\r
            shop.web-1 \(Self.key(3).z85) gen types=ORDER_PAID
            screen \(Self.key(4).z85) live
            nobody \(Self.key(5).z85)
            """)
        #expect(keys.users.count == 5)
        #expect(
            keys[Self.key(1)]
                == .init(
                    name: "billing",
                    rights: UserRights(
                        [.push], components: [ConsumerComponent("BILLING")!, ConsumerComponent("INVOICES")!],
                        types: EventFilter([EventType("ORDER_PAID")!, EventType("REFUND")!])!)))
        #expect(keys[Self.key(2)] == .init(name: "billing", rights: UserRights([.push, .poll])))
        #expect(keys[Self.key(3)]?.rights.types == EventFilter([EventType("ORDER_PAID")!]))
        #expect(keys[Self.key(4)] == .init(name: "screen", rights: UserRights([.live])))
        #expect(keys[Self.key(5)] == .init(name: "nobody", rights: UserRights([])))
        #expect(keys[Self.key(6)] == nil)
        #expect(try Self.decode("").users.isEmpty)
    }

    @Test(arguments: [
        ("a:b \(key(1).z85) gen", "line 1: a user's name is 1 to 47 of A-Z, a-z, 0-9, '_', '-' and '.'"),
        ("\n# c\nx gen", "line 3: after the name x there must be a public key, 40 characters of Z85"),
        ("x", "line 1: after the name x there must be a public key, 40 characters of Z85"),
        (
            "x \(key(1).z85) gen pull",
            "line 1: \"pull\" is no right; there are gen, poll, push, live, components=A,B and types=X,Y"
        ),
        (
            "x \(key(1).z85) database=app",
            "line 1: \"database=app\" is no right; there are gen, poll, push, live, components=A,B and types=X,Y"
        ),
        (
            "x \(key(1).z85) components=",
            "line 1: components= takes names of 1 to 16 of A-Z, a-z, 0-9 and _, not LIVE: that is the right live"
        ),
        (
            "x \(key(1).z85) components=LIVE",
            "line 1: components= takes names of 1 to 16 of A-Z, a-z, 0-9 and _, not LIVE: that is the right live"
        ),
        ("x \(key(1).z85) types=a!", "line 1: types= takes event types and prefixes, separated by commas: \(EventFilter.rule)"),
        ("x \(key(1).z85) types=A types=B", "line 1: types is there twice"),
        ("x \(key(1).z85) gen\ny \(key(1).z85) gen", "line 2: the key of y has a line already"),
        // A word that may be a secret in the wrong place is not repeated.
        (
            "x \(key(1).z85) \(key(2).z85)",
            "line 1: a word of 40 bytes is no right; there are gen, poll, push, live, components=A,B and types=X,Y"
        ),
    ])
    func aBadLineIsNamed(_ text: String, _ message: String) {
        #expect(throws: AccessFileError(message)) { try Self.decode(text) }
    }

    /// What compares strings takes the square of the length of such a text: hours for this one.
    @Test(arguments: ["", "types", "types=", "gen"])
    func combiningMarksDoNotTakeTheSquareOfTheirNumber(_ before: String) {
        let marks = String(repeating: "\u{301}\u{323}", count: 1 << 19)
        let size = before.utf8.count + marks.utf8.count
        #expect(
            throws: AccessFileError(
                "line 1: a word of \(size) bytes is no right; there are gen, poll, push, live, components=A,B and types=X,Y")
        ) { try Self.decode("x \(Self.key(1).z85) \(before)\(marks)") }
    }

    @Test func everyBadLineIsNamedUpToTwenty() {
        let text = (1...30).map { "x\($0) none" }.joined(separator: "\n")
        do {
            _ = try Self.decode(text)
            Issue.record("it was accepted")
        } catch {
            let message = "\(error)"
            #expect(message.contains("line 1: ") && message.contains("line 20: ") && !message.contains("line 21: "))
            #expect(message.hasSuffix("and 10 more"))
        }
    }
}

@Suite struct UserRightsTests {
    private static let (one, two) = (EventType("ONE")!, EventType("TWO")!)
    private static let component = ConsumerComponent("BILLING")!
    private static let calls: [(Call, Set<UserRights.Right>)] = [
        (.addEvent(type: one, data: .null), [.gen]), (.registerConsumer(component), [.poll, .push]),
        (.pollEvents(component, after: nil, want: .all, fields: []), [.poll]),
        (.pollEvents(.live, after: nil, want: .all, fields: []), [.poll]),
        (.readyToReceive(component, want: .all, fields: []), [.push]),
        (.readyToReceive(.live, want: .all, fields: []), [.live]), (.stopReceiving(component), [.push]),
        (.stopReceiving(.live), [.live]), (.lag(component), [.poll, .push]),
    ]

    private static func isPermitted(_ call: Call, _ rights: UserRights) -> Bool {
        do {
            _ = try rights.permitted(call)
            return true
        } catch {
            #expect(error.name == "Unauthorized")
            return false
        }
    }

    /// Every call with every set of rights.
    @Test func aCallNeedsItsRight() {
        for mask in 0..<16 {
            let rights = UserRights(
                Set(UserRights.Right.allCases.enumerated().filter { mask >> $0.offset & 1 == 1 }.map(\.element)))
            for (call, needed) in Self.calls {
                #expect(Self.isPermitted(call, rights) == !needed.isDisjoint(with: rights.rights), "\(rights) \(call)")
            }
            #expect(Self.isPermitted(.ping(echo: .null), rights))
        }
    }

    @Test func componentsAreNarrowed() {
        let rights = UserRights(Set(UserRights.Right.allCases), components: [ConsumerComponent("OTHER")!])
        for (call, _) in Self.calls {
            let isOfAComponent = !"\(call)".contains("LIVE") && !"\(call)".contains("addEvent")
            #expect(Self.isPermitted(call, rights) == !isOfAComponent, "\(call)")
        }
        #expect(Self.isPermitted(.registerConsumer(ConsumerComponent("OTHER")!), rights))
    }

    @Test func typesAreNarrowed() throws {
        let rights = UserRights(Set(UserRights.Right.allCases), types: EventFilter([Self.one])!)
        #expect(Self.isPermitted(.addEvent(type: Self.one, data: .null), rights))
        #expect(!Self.isPermitted(.addEvent(type: Self.two, data: .null), rights))
        let only = EventFilter([Self.one])!
        for component in [Self.component, .live] {
            for want in [.all, only, EventFilter([Self.one, Self.two])!] {
                let poll = Call.pollEvents(component, after: nil, want: want, fields: .microseconds)
                #expect(try rights.permitted(poll) == .pollEvents(component, after: nil, want: only, fields: .microseconds))
                let ready = Call.readyToReceive(component, want: want, fields: .microseconds, origin: true)
                #expect(
                    try rights.permitted(ready) == .readyToReceive(component, want: only, fields: .microseconds, origin: true))
            }
            let none = EventFilter([Self.two])!
            #expect(!Self.isPermitted(.pollEvents(component, after: nil, want: none, fields: []), rights))
            #expect(!Self.isPermitted(.readyToReceive(component, want: none, fields: []), rights))
        }
    }
}
