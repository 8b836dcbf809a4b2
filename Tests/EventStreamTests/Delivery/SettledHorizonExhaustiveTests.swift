import EventStream
import EventStreamDatabase
import EventStreamPusher
import Testing

/// All ways in which two writers and the reader can be interleaved.
@Suite struct SettledHorizonExhaustiveTests {
    private enum Ending: CaseIterable { case commit, rollback, prepare }

    private struct Writer {
        let name: String
        let ending: Ending
        var done = 0
        var id: Int64?
        var isVisible = false

        var isOver: Bool { done == (ending == .commit ? 4 : ending == .prepare ? 5 : 3) }
        var isPrepared: Bool { ending == .prepare && done >= 3 }
        /// From before the id is drawn to after the event is visible.
        var holder: TableWriter? {
            done == 0 || isOver ? nil : .init(transaction: isPrepared ? "-1/\(name)" : "\(name)/1")
        }

        mutating func step(_ sequence: inout Int64) {
            done += 1
            if done == 2 {
                sequence += 1
                id = sequence
            }
            if ending != .rollback, done == (ending == .commit ? 3 : 4) { isVisible = true }
        }
    }

    private struct World {
        var writers: [Writer]
        var sequence: Int64 = 0
        var horizon = SettledHorizon(settled: .none)
        var delivered: [Int64] = []
        var hasLooked = false

        var visible: [Int64] { writers.filter(\.isVisible).compactMap(\.id).sorted() }

        /// The next half of the reader's turn: the look at the holders, or the read.
        mutating func read() {
            if !hasLooked, horizon.gap != nil {
                hasLooked = horizon.holders(
                    Set(writers.compactMap(\.holder)), newest: visible.last.map { EventID($0) } ?? horizon.settled)
                return
            }
            hasLooked = false
            let rows = visible.map { EventID($0) }.filter { $0 > horizon.settled }
            delivered += rows.prefix(horizon.rows(rows, at: start)).map(\.rawValue)
        }

        var isSound: Bool { delivered == visible.filter { $0 <= horizon.settled.rawValue } }
    }

    private func explore(_ world: World, reads: Int, _ visit: (World) -> Void) {
        var isLeaf = true
        for writer in world.writers.indices where !world.writers[writer].isOver {
            isLeaf = false
            var next = world
            next.writers[writer].step(&next.sequence)
            explore(next, reads: reads, visit)
        }
        if reads > 0 {
            isLeaf = false
            var next = world
            next.read()
            explore(next, reads: reads - 1, visit)
        }
        if isLeaf { visit(world) }
    }

    // The writers are alike, so each pair of endings once.
    @Test(arguments: [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]])
    func noInterleavingOfTwoWritersLosesAnEvent(_ pair: [Int]) {
        let endings = pair.map { Ending.allCases[$0] }
        let world = World(writers: [Writer(name: "3", ending: endings[0]), Writer(name: "4", ending: endings[1])])
        var (leaves, wrong) = (0, 0)
        explore(world, reads: pair == [2, 2] ? 2 : 3) { world in
            leaves += 1
            var world = world
            // Everyone has ended: a few more turns bring the rest.
            for _ in 0..<4 { world.read() }
            if !world.isSound || world.delivered != world.visible { wrong += 1 }
        }
        #expect(leaves > 500)
        #expect(wrong == 0)
    }
}
