import Testing

@testable import EventStream
@testable import EventStreamDiscarder

struct MissingArchiverTests {
    @Test func theClosestNameIsProposed() {
        let missing = MissingArchiver(
            "local:ARCHVIER", registered: ["local:APP", "local:ARCHIVER", "local:COLD"],
            archivers: ["local:COLD", "local:ARCHIVER"])
        #expect(missing.archivers == ["local:ARCHIVER", "local:COLD"])
        #expect(
            "\(missing)" == "EVT_DISCARD_REQUIRE names local:ARCHVIER, and no such archiver is registered; those there are: "
                + "local:ARCHIVER, local:COLD. Set EVT_DISCARD_REQUIRE=ARCHIVER for evt-discarder, or start evt-archiver with "
                + "EVT_ARCHIVER_COMPONENT=ARCHVIER")
        #expect(MissingArchiver.isMeant(by: "events after 7: \(missing)"))
        #expect(!MissingArchiver.isMeant(by: "the archive of local:ARCHIVER cannot be asked: no route"))
    }

    @Test func oneThatIsRegisteredAndHasNeverArchivedIsToldApart() {
        let missing = MissingArchiver("local:APP", registered: ["local:APP"], archivers: [])
        #expect("\(missing)".contains("local:APP, which is registered, but has never archived into this warehouse"))
        #expect("\(missing)".hasSuffix("or take the name out of EVT_DISCARD_REQUIRE"))
    }

    @Test func archiversOfOthersCountWhereNoneIsRegistered() {
        let missing = MissingArchiver("a:ARCHIVER", registered: ["local:APP"], archivers: ["b:ARCHIVER"])
        #expect("\(missing)".contains("those there are: b:ARCHIVER. Set EVT_DISCARD_REQUIRE=b:ARCHIVER"))
    }

    @Test(arguments: [
        ("", "", 0), ("ab", "ba", 1), ("ARCHVIER", "ARCHIVER", 1), ("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3),
    ])
    func namesAreComparedLetterByLetter(a: String, b: String, distance: Int) {
        #expect(MissingArchiver.distance(a, b) == distance)
    }
}
