import EventStream
import TestSupport
import Testing

@testable import EventStreamArchiver
@testable import EventStreamDatabase

@Suite struct ArchivePlanTests {
    private typealias World = ArchivePlanWorld

    private static let ready = World.Step.work(.look(session: 1))
    private static let plain = World(
        World.rows(1...6),
        [
            ready, World.append(World.rows(1...2)), World.append(World.rows(3...4), session: 2), .work(.look(session: nil)),
            World.append(World.rows(5...6), session: 3),
        ])
    /// The events 5 and 6 are lost; what follows has other ids.
    private static let failedOver: World = {
        let left = World.rows(1...4) + World.rows(101...103, era: 1)
        let next = World.origin(1, start: 100, after: 3, common: 3)
        return World(
            World.rows(1...6),
            [
                World.append(World.rows(1...4)), World.append(World.rows(5...6)), .failOver(left),
                World.append(Array(left[3...4]), next, session: 2), World.append(Array(left[5...]), next, session: 2),
            ])
    }()

    // MARK: Whatever happens

    /// Tries every course of things with so many faults.
    private func explore(_ world: World, _ action: ArchivePlan.Action?, faults: Int, _ count: inout Int) {
        var world = world
        guard let action = action ?? world.begin() else {
            world.checkEnd()
            count += 1
            return report(world)
        }
        guard world.violation == nil else { return report(world) }
        switch action {
        case .done:
            world.workIsDone()
            return explore(world, nil, faults: faults, &count)
        case .fail: return explore(world, nil, faults: faults, &count)
        default: break
        }
        for fault in faults > 0 ? World.Fault.allCases : [] {
            var other = world
            let next = other.carryOut(action, fault)
            explore(other, next, faults: faults - 1, &count)
        }
        let next = world.carryOut(action)
        explore(world, next, faults: faults, &count)
    }

    private func report(_ world: World) {
        guard let violation = world.violation else { return }
        Issue.record("\(violation) after\n\(world.trail.joined(separator: "\n"))")
    }

    @Test func whicheverTwoStepsFailEveryEventIsArchivedOnce() {
        var count = 0
        explore(ArchivePlanTests.plain, nil, faults: 2, &count)
        #expect(count > 1000)
    }

    @Test func `whichever two steps fail what a fail-over lost is set aside`() {
        var count = 0
        explore(ArchivePlanTests.failedOver, nil, faults: 2, &count)
        #expect(count > 1000)
    }

    @Test func `a warehouse that is restored again and again is completed with the next batch`() {
        for seed in 0..<400 as Range<UInt64> {
            var random = SplitMix(seed: seed)
            let rows = World.rows(1...40)
            let batches = stride(from: 0, to: 40, by: 4).map { World.append(Array(rows[$0..<($0 + 4)]), session: $0 / 10) }
            var world = World(rows, batches.flatMap { random.chance(20) ? [.work(.look(session: nil)), $0] : [$0] })
            var backups = [world.history]
            while world.violation == nil, var action = world.begin() {
                work: while true {
                    switch action {
                    case .done:
                        world.workIsDone()
                        backups.append(world.history)
                        break work
                    case .fail: break work
                    default: action = world.carryOut(action, random.chance(4) ? World.Fault.allCases[random.below(3)] : nil)
                    }
                }
                // Never after the last one: nobody would notice.
                if world.script.count > 1, random.chance(10) { world.restore(backups[random.below(backups.count)]) }
            }
            world.checkEnd()
            guard world.violation == nil else { return report(world) }
        }
    }

    @Test func `what a restored warehouse has of an earlier generation is compared with the present one`() {
        let left = World.rows(1...4) + World.rows(101...104, era: 1)
        let next = World.origin(1, start: 100, after: 2, common: 2)
        let later = World.origin(1, start: 100, after: 103, common: 2)
        var world = World(
            World.rows(1...6),
            [
                World.append(World.rows(1...6)), .failOver(left), World.append(Array(left[2...6]), next),
                World.append(Array(left[7...]), later, session: 2),
            ])
        var backup: SimulatedHistory?
        while world.violation == nil, var action = world.begin() {
            if world.script.count == 2, backup == nil { backup = world.history }
            while action != .done(0) {
                if case .done = action { break }
                action = world.carryOut(action)
            }
            world.workIsDone()
            if world.script.count == 1, let backup { world.restore(backup) }
        }
        world.checkEnd()
        #expect(world.history.lost.map(\.id) == [5, 6])
        report(world)
    }

    // MARK: Whose position it is

    private func begin(_ world: inout World) throws -> ArchivePlan.Action {
        let action = world.begin()
        return try #require(action)
    }

    /// Up to the first action that `isMeant` recognizes.
    private func world(_ script: [World.Step], until isMeant: (ArchivePlan.Action) -> Bool) throws -> World {
        var world = World(World.rows(1...6), script)
        var action = try begin(&world)
        while !isMeant(action) {
            switch action {
            case .fail: break
            case .done:
                world.workIsDone()
                action = try begin(&world)
                continue
            default:
                action = world.carryOut(action)
                continue
            }
            Issue.record("it fails before: \(action)")
            break
        }
        return world
    }

    private func isCopy(_ action: ArchivePlan.Action) -> Bool { if case .copy = action { true } else { false } }

    @Test func `whose token is not the one in the warehouse has lost the position`() throws {
        var world = try world([World.append(World.rows(1...2))], until: isCopy)
        var now = world.history.standing
        now.token = "another's"
        #expect(world.plan.moved(to: now) == .fail(.takenOver))
        #expect(world.plan.introduced == nil, "and introduces itself again")
    }

    @Test func aPositionThatWasSetBackIsComparedFromThere() throws {
        var world = try world([World.append(World.rows(1...2)), World.append(World.rows(3...4))], until: isCopy)
        var now = world.history.standing
        now.position = 1
        guard case .copy(let copy) = world.plan.moved(to: now) else {
            Issue.record("it does not copy")
            return
        }
        #expect(copy.standing.position == 1)
    }

    @Test func whoMayNotArchiveKeepsNobodyOut() throws {
        var world = try world([World.append(World.rows(1...2))]) { $0 == .introduce(known: nil) }
        #expect(world.plan.isTakingUp)
        #expect(world.plan.failed(isUnknown: true) == .giveUpLock)
        #expect(world.plan.lockGivenUp() == .fail(nil))
        #expect(!world.plan.hasLock)
    }

    @Test func `a lock that could not be given up goes with the connection`() throws {
        var world = try world([World.append(World.rows(1...2))]) { $0 == .introduce(known: nil) }
        #expect(world.plan.failed(isUnknown: true) == .giveUpLock)
        #expect(world.plan.failed() == .fail(nil))
        #expect(world.plan.begin(.look(session: nil), isConnected: true) == .connect)
        #expect(world.plan.connected(world.history.standing) == .ping)
    }

    @Test func aPusherOfBeforeIsArchivedWithoutAToken() throws {
        var world = try world([ArchivePlanTests.ready]) { $0 == .introduce(known: nil) }
        #expect(world.plan.introducedInVain() == .ping)
        #expect(world.plan.pinged() == .done(0))
        #expect(world.plan.introduced == 1)
    }

    @Test func anArchiverWhosePositionIsGoneSaysSo() throws {
        var world = try world([ArchivePlanTests.ready]) { $0 == .readPosition }
        #expect(world.plan.found(nil) == .fail(.positionGone))
    }

    @Test func anotherArchiverMayFollowAnotherGeneration() throws {
        let origin = World.origin(0)
        var world = try world([World.append(World.rows(1...2), origin)]) {
            if case .follow = $0 { true } else { false }
        }
        // What is asked once over each connection comes first, and the generation is looked at again.
        #expect(world.plan.followed(world.history.standing) == .readPosition)
        #expect(world.plan.found(nil) == .follow(origin, from: world.plan.standing!))
        #expect(world.plan.followed(world.history.standing) == .fail(.otherGeneration))
    }

    // MARK: What is missing

    private func isPoll(_ action: ArchivePlan.Action) -> Bool { if case .poll = action { true } else { false } }

    @Test func whereAPusherDoesNotAnswerTheNextOneIsAsked() throws {
        var world = try world([World.append(World.rows(5...6))], until: isPoll)
        #expect(world.plan.pollFailed(isForbidden: false) == .poll(endpoint: 1, after: .none, generation: "0"))
        #expect(world.plan.pollFailed(isForbidden: false) == .fail(nil))
        #expect(!world.plan.isComplete)
    }

    @Test func `where polls are forbidden nothing is known to be missing`() throws {
        var world = try world([World.append(World.rows(5...6))], until: isPoll)
        #expect(isCopy(world.plan.pollFailed(isForbidden: true)))
        #expect(world.plan.isComplete)
    }

    @Test func missingEventsAreCopiedBeforeThereAreTooMany() throws {
        var world = try world([World.append(World.rows(9000...9001))], until: isPoll)
        let missing = World.rows(1...5000).map { SimulatedEvent.event($0) }
        #expect(world.plan.polled(missing, discarded: .none) == .ping)
        guard case .copy(let copy) = world.plan.pinged() else {
            Issue.record("it does not copy")
            return
        }
        #expect(copy.events == missing)
        #expect(copy.lackedSince == EventID.none)
        #expect(world.plan.copied(5000) == .poll(endpoint: 0, after: 5000, generation: "0"))
        #expect(world.plan.polled([], discarded: .none) == .ping)
        #expect(isCopy(world.plan.pinged()))
        #expect(world.plan.copied(2) == .done(5002))
    }

    @Test func eventsWhoseIdsMayBeTakenAreLookedForFirst() throws {
        var plan = ArchivePlan(want: .all, endpoints: 1)
        _ = plan.begin(.append([event(10), event(11)], of: nil, session: 1), isConnected: false)
        _ = plan.connected(.init(position: 5, want: .all, newest: 10))
        _ = plan.lockTaken()
        _ = plan.found(.init(position: 5, want: .all))
        _ = plan.introducedInVain()
        #expect(plan.found(nil) == .search(from: 10, through: 11, want: .all))
        guard case .copy(let copy) = plan.searched(true) else {
            Issue.record("it does not copy")
            return
        }
        #expect(copy.comparing)
    }
}
