import EventStream
import Testing

/// Whether a database went back, told from what is remembered of it.
@Suite struct StreamGenerationTests {
    private let first = StreamGeneration(stream: "S", id: "1", start: 0)
    private let second = StreamGeneration(stream: "S", id: "2", start: 7)
    private let here = StreamPlace(server: "74", timeline: "00000001", database: "5", table: "16384")

    private func sighting(stored: EventID = 100, missing: [EventID] = []) -> StreamSighting {
        StreamSighting(generation: first, place: here, noted: here, stored: stored, missing: missing)
    }

    private func memory(of generation: StreamGeneration, stored: EventID = 100) -> StreamMemory {
        var memory = StreamMemory()
        memory.follow(generation)
        memory.stored(stored)
        return memory
    }

    private func reason(_ sighting: StreamSighting, _ memory: StreamMemory = StreamMemory()) -> String {
        guard case .wentBack(let reason) = sighting.verdict(remembering: memory) else { return "" }
        return reason
    }

    @Test func whatIsAsItWasIsTheSame() {
        #expect(sighting().verdict(remembering: memory(of: first)) == .same)
        #expect(sighting(stored: 200).verdict(remembering: memory(of: first)) == .same)
        #expect(sighting().verdict(remembering: StreamMemory()) == .same, "nothing is remembered")
    }

    @Test func aPlaceThatNobodyHasNotedIsTheFirst() {
        var seen = sighting()
        seen.noted = nil
        #expect(seen.verdict(remembering: StreamMemory()) == .same)
    }

    @Test func anotherTimelineIsAnotherLife() {
        var seen = sighting()
        seen.place.timeline = "00000002"
        #expect(reason(seen).contains("timeline 00000002 and was on 00000001"))
        #expect(reason(seen, memory(of: first)).contains("timeline"))
    }

    private func doubt(_ sighting: StreamSighting, _ memory: StreamMemory = StreamMemory(), _ failOver: FailOver = .automatic)
        -> String
    {
        guard case .elsewhere(let because) = sighting.verdict(remembering: memory, failOver: failOver) else { return "" }
        return because
    }

    @Test func onAnotherServerInAnotherDatabaseOrTableAPersonIsAsked() {
        var seen = sighting()
        // Also where it is on another timeline, and lacks what was delivered.
        (seen.place.server, seen.place.timeline, seen.missing) = ("75", "00000002", [98])
        #expect(doubt(seen).contains("system identifier 75, and the stream was on 74"))
        #expect(doubt(seen, memory(of: first)).contains("system identifier 75"))
        seen = sighting()
        seen.place.database = "6"
        #expect(doubt(seen).contains("the database has the object id 6"))
        seen = sighting()
        seen.place.table = "6"
        #expect(doubt(seen, memory(of: first)).contains("the event table has the object id 6"))
    }

    @Test func aPersonMayBeAskedForAnotherTimelineToo() {
        var seen = sighting()
        #expect(doubt(seen, memory(of: first), .manual) == "")
        seen.place.timeline = "00000002"
        #expect(doubt(seen, memory(of: first), .manual).contains("timeline 00000002 and was on 00000001"))
    }

    @Test func whatOneRoleMayNotAskIsNotDifferent() {
        var seen = sighting()
        (seen.place.server, seen.place.timeline) = ("", "")
        #expect(seen.verdict(remembering: StreamMemory()) == .same)
        (seen.place, seen.noted) = (here, seen.place)
        #expect(seen.verdict(remembering: memory(of: first)) == .same)
    }

    @Test func whatHasBeenStoredAndDeliveredMustBeThere() {
        #expect(reason(sighting(stored: 99), memory(of: first)).contains("up to 99 only, and 100 was stored"))
        let reason = reason(sighting(missing: [98, 99]), memory(of: first))
        #expect(reason.contains("98, 99"))
    }

    @Test func whatWasKnownOfAnotherGenerationDoesNotCount() {
        var later = sighting(stored: 50, missing: [98])
        later.generation = second
        #expect(later.verdict(remembering: memory(of: first)) == .begun)
        var memory = memory(of: first)
        memory.read([.init(id: 98, time: 1)])
        memory.follow(second)
        #expect(memory.recent == [])
        later.missing = []
        #expect(later.verdict(remembering: memory) == .same)
    }

    @Test func aDatabaseThatWasGivenUpIsNotFollowed() {
        #expect(sighting().verdict(remembering: memory(of: second)) == .over)
        #expect(first.isBefore(second) && !second.isBefore(first) && !first.isBefore(first))
        #expect(!first.isBefore(StreamGeneration(stream: "OTHER", id: "2", start: 7)))
    }

    @Test func aMemoryIsBounded() {
        var memory = memory(of: first)
        for page in 0..<100 { memory.read((1...1000).map { .init(id: EventID(Int64(page * 1000 + $0)), time: 0) }) }
        #expect(memory.recent.count <= 2 * 4096)
        #expect(memory.recent.last?.id == 100_000)
        #expect(memory.recent.count >= 4096)
    }

    @Test func aPlaceIsReadAsItWasWritten() {
        #expect(StreamPlace(here.description) == here)
        #expect(StreamPlace("///") == StreamPlace(server: "", timeline: "", database: "", table: ""))
        #expect(StreamPlace("1/2/3") == nil)
    }
}
