import EventStream
import EventStreamDatabase
import Testing

/// What an archive can give in place of discarded events.
@Suite struct ArchiveReachTests {
    private static let generation = StreamGeneration(stream: "s", id: "g", start: EventID(0))

    private static func part(
        after completeFrom: Int64 = 0, through position: Int64 = 100, all: Bool = true, stream: String? = "s",
        generation: String? = "g"
    ) -> ArchiveExtent.Part {
        .init(
            want: all ? .all : EventFilter([EventType("SOME")!])!, completeFrom: EventID(completeFrom),
            position: EventID(position),
            generation: stream.flatMap { stream in
                generation.map { StreamGeneration(stream: stream, id: $0, start: EventID(0)) }
            })
    }

    private static func reach(_ parts: ArchiveExtent.Part..., through discarded: Int64 = 100) -> ArchiveReach {
        ArchiveReach(ArchiveExtent(parts), of: generation, through: EventID(discarded))
    }

    private static func least(_ reach: ArchiveReach, _ discarded: Int64 = 100) -> EventID {
        reach.leastStart(discarded: EventID(discarded))
    }

    @Test func aCompleteArchiveReachesBackToItsBeginning() {
        #expect(Self.reach(Self.part()) == .events(after: EventID(0), through: EventID(100)))
        #expect(Self.least(Self.reach(Self.part())) == EventID(0))
        #expect(Self.least(Self.reach(Self.part(after: 40))) == EventID(40))
        // Nothing is discarded: the table has it all.
        #expect(Self.least(Self.reach(Self.part(after: 40)), 0) == EventID(0))
    }

    @Test func anArchiveThatLacksTheNewestDiscardedEventsGivesNone() {
        let behind = Self.reach(Self.part(through: 99))
        #expect(behind == .events(after: EventID(0), through: EventID(99)))
        #expect(Self.least(behind) == EventID(100))
    }

    @Test func ofSeveralArchiversTheOneThatReachesFurthestBackCounts() {
        let reach = Self.reach(Self.part(after: 50), Self.part(after: 20), Self.part(after: 0, through: 60))
        #expect(reach == .events(after: EventID(20), through: EventID(100)))
        // None has all of it: the one that has come furthest.
        #expect(
            Self.reach(Self.part(through: 70), Self.part(after: 5, through: 80))
                == .events(after: EventID(5), through: EventID(80)))
    }

    @Test func whatIsNotOfThisStreamAndGenerationWithAllTypesGivesNothing() {
        let others: [(ArchiveReach, String)] = [
            (Self.reach(), "no archiver has archived there yet"),
            (Self.reach(Self.part(stream: nil, generation: nil)), "no archiver has archived there yet"),
            (Self.reach(Self.part(stream: "t")), "the archive holds another stream, t"),
            (
                Self.reach(Self.part(generation: "f")),
                "the archiver has archived nothing of the present generation of the stream yet"
            ),
            (Self.reach(Self.part(all: false)), "the archiver archives only some types of events"),
        ]
        for (reach, why) in others {
            #expect(reach == .nothing(why))
            #expect(Self.least(reach) == EventID(100))
        }
        // One that counts is enough.
        #expect(Self.least(Self.reach(Self.part(all: false), Self.part(stream: "t"), Self.part(after: 7))) == EventID(7))
    }
}
