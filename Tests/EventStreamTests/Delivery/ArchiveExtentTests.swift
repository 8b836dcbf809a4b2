import EventStream
import EventStreamDatabase
import Testing

/// How far an archive can be read.
@Suite struct ArchiveExtentTests {
    private static let generation = StreamGeneration(stream: "S", id: "2", start: 50)
    private static let before = StreamGeneration(stream: "S", id: "1", start: .none)
    private static let odd = EventFilter([EventType("ODD")!])!

    private func part(
        _ want: EventFilter = .all, from completeFrom: EventID = .none, to position: EventID,
        of generation: StreamGeneration? = generation
    ) -> ArchiveExtent.Part {
        .init(want: want, completeFrom: completeFrom, position: position, generation: generation)
    }

    private func reach(_ parts: [ArchiveExtent.Part], after id: EventID) -> ArchiveExtent.Reach {
        ArchiveExtent(parts).reach(after: id, of: Self.generation)
    }

    @Test func `an archive can be read up to its position, from where on it is complete`() {
        let archive = [part(from: 10, to: 100)]
        #expect(reach(archive, after: 10) == .through(100))
        #expect(reach(archive, after: 99) == .through(100))
        #expect(reach(archive, after: 9) == .missing(first: 10))
        #expect(reach([part(to: 100)], after: .none) == .through(100))
        for id in [EventID(100), 101] {
            guard case .waiting = reach(archive, after: id) else { return #expect(Bool(false)) }
        }
    }

    @Test func `what is not of the present generation is not read`() {
        for other in [Self.before, nil] {
            guard case .waiting = reach([part(to: 100, of: other)], after: 10) else { return #expect(Bool(false)) }
        }
        #expect(reach([part(to: 100, of: Self.before), part(to: 60)], after: 10) == .through(60))
        let stranger = StreamGeneration(stream: "T", id: "2", start: 50)
        guard case .never = reach([part(to: 100, of: stranger)], after: 10) else { return #expect(Bool(false)) }
    }

    @Test func `an archive of some types is not read`() {
        guard case .never = reach([part(Self.odd, to: 100)], after: 1) else { return #expect(Bool(false)) }
        #expect(reach([part(Self.odd, to: 100), part(to: 60)], after: 1) == .through(60))
    }

    @Test func `of several archivers the one that has come furthest counts, if it is complete`() {
        let archive = [part(from: 30, to: 100), part(to: 60), part(Self.odd, to: 200)]
        #expect(reach(archive, after: 10) == .through(60))
        #expect(reach(archive, after: 30) == .through(100))
        #expect(reach([part(from: 30, to: 100), part(from: 20, to: 60)], after: 10) == .missing(first: 20))
    }

    @Test func `two looks agree on what both allow`() {
        let waiting = ArchiveExtent.Reach.waiting("away")
        #expect(ArchiveExtent.Reach.through(10).and(.through(20)) == .through(10))
        #expect(ArchiveExtent.Reach.through(10).and(waiting) == waiting)
        #expect(waiting.and(.through(10)) == waiting)
        #expect(ArchiveExtent.Reach.missing(first: 5).and(waiting) == .missing(first: 5))
    }
}
