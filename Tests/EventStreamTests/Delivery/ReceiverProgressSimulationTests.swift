import EventStream
import EventStreamClient
import TestSupport
import Testing

/// A receiver and a server that sends again, reorders, and begins new sessions at older positions.
@Suite struct ReceiverProgressSimulationTests {
    private struct Group {
        var ids: [Int64]
        var rids: Set<UInt64> = []
        var isAnswered = false
    }

    private struct Call {
        let sequence: Int
        let ids: [Int64]
        let rid: UInt64
    }

    private struct World {
        var random: SplitMix
        let stream: [Int64]
        let announces: Bool
        var progress = ReceiverProgress()
        // The server.
        var groups: [Group] = []
        var position = 0
        var confirmedAtServer = 0
        var cursor = 0
        var nextRid: UInt64 = 1
        var calls: [Call] = []
        var answers: [(rid: UInt64, isGood: Bool)] = []
        var idsOfCall: [UInt64: [Int64]] = [:]
        // The application.
        var batch: [Int64]?
        var processed = 0

        init(seed: UInt64, announces: Bool) {
            random = SplitMix(seed: seed)
            self.announces = announces
            var id: Int64 = 0
            var ids: [Int64] = []
            for _ in 0..<random.pick(20...80) {
                id += Int64(random.pick(1...3))
                ids.append(id)
            }
            stream = ids
        }

        var unanswered: Int { groups.count { !$0.isAnswered } }

        /// A new session, at the stored position, which may be older than the confirmed one.
        mutating func restart() {
            if announces {
                // The connection was lost, and what was under way with it.
                (calls, answers) = ([], [])
                progress.sessionStarted()
            }
            position = random.pick(max(0, confirmedAtServer - 10)...confirmedAtServer)
            confirmedAtServer = position
            cursor = position
            groups = []
        }

        mutating func send(_ sequence: Int) {
            groups[sequence].rids.insert(nextRid)
            idsOfCall[nextRid] = groups[sequence].ids
            let call = Call(sequence: sequence, ids: groups[sequence].ids, rid: nextRid)
            nextRid += 1
            // Now and then a group overtakes one that is sent again; a first send is never overtaken.
            guard let last = calls.last, last.rid > firstRid, last.rid != groups[last.sequence].rids.min(), random.chance(25)
            else { return calls.append(call) }
            calls.insert(call, at: calls.count - 1)
        }

        /// The first call of the present session: nothing overtakes into an older one.
        var firstRid: UInt64 { groups.compactMap { $0.rids.min() }.min() ?? 0 }

        mutating func sendNew() {
            guard unanswered < 4, cursor < stream.count else { return }
            let end = min(stream.count, cursor + random.pick(1...4))
            groups.append(Group(ids: Array(stream[cursor..<end])))
            cursor = end
            send(groups.count - 1)
        }

        mutating func sendAgain() {
            guard let sequence = groups.indices.filter({ !groups[$0].isAnswered }).randomElement(using: &random) else { return }
            send(sequence)
        }

        mutating func callArrives() -> String? {
            guard !calls.isEmpty else { return nil }
            let call = calls.removeFirst()
            switch progress.arrived(sequence: UInt64(call.sequence), events: events(call.ids), rid: .server(call.rid)) {
            case .kept: return nil
            case .answerAgain: return answer([.server(call.rid)], isGood: true)
            case .refused: return "group \(call.sequence) was refused"
            }
        }

        mutating func answer(_ rids: [RequestID?], isGood: Bool) -> String? {
            for case let rid? in rids.map({ $0?.number }) {
                if isGood, let id = idsOfCall[rid]?.first(where: { !stream[..<processed].contains($0) }) {
                    return "call \(rid) is answered with success, but \(id) was never processed"
                }
                answers.append((rid, isGood))
            }
            return nil
        }

        mutating func answerArrives() {
            guard !answers.isEmpty else { return }
            let (rid, isGood) = answers.removeFirst()
            guard isGood, let index = groups.firstIndex(where: { $0.rids.contains(rid) }) else { return }
            groups[index].isAnswered = true
            let prefix = groups.prefix { $0.isAnswered }
            confirmedAtServer = max(confirmedAtServer, position + prefix.reduce(0) { $0 + $1.ids.count })
        }

        mutating func applicationActs() -> String? {
            guard let ids = batch else {
                batch = progress.nextBatch(limit: random.pick(1...12))?.events.map(\.id.rawValue)
                return nil
            }
            batch = nil
            guard ids.isEmpty || random.chance(80) else { return answer(progress.failed(), isGood: false) }
            for id in ids {
                guard processed < stream.count, stream[processed] == id else {
                    return "\(id) was processed after \(processed == 0 ? 0 : stream[processed - 1])"
                }
                processed += 1
            }
            return answer(progress.succeeded(), isGood: true)
        }

        mutating func step() -> String? {
            switch random.below(20) {
            case 0...4: sendNew()
            case 5: sendAgain()
            case 6...10: return callArrives()
            case 11...14: answerArrives()
            case 15 where random.chance(25): restart()
            default: return applicationActs()
            }
            return nil
        }

        /// Without further restarts everything must arrive.
        mutating func settle() -> String? {
            for _ in 0..<4000 {
                sendNew()
                if random.chance(30) { sendAgain() }
                for _ in 0..<3 { if let broken = callArrives() ?? applicationActs() { return broken } }
                while !answers.isEmpty { answerArrives() }
                if confirmedAtServer == stream.count { break }
            }
            return processed == stream.count && confirmedAtServer == stream.count
                ? nil : "\(processed) of \(stream.count) events were processed, \(confirmedAtServer) confirmed"
        }

        mutating func run() -> String? {
            for _ in 0..<300 { if let broken = step() { return broken } }
            return settle()
        }
    }

    @Test func everyEventIsProcessedInOrderThoughSessionsStartAnew() async {
        await Simulation.check(stepsEach: 300) { seed in
            var world = World(seed: seed, announces: true)
            return world.run()
        }
    }

    /// The answer to a repeated readyToReceive does not tell that it began a new session.
    @Test func everyEventIsProcessedInOrderThoughNobodyAnnouncesTheSessions() async {
        await Simulation.check(stepsEach: 300) { seed in
            var world = World(seed: seed, announces: false)
            return world.run()
        }
    }

    @Test func aLiveSessionWithGapsNeverGoesBack() async {
        await Simulation.check(stepsEach: 100) { seed in
            var random = SplitMix(seed: seed)
            var progress = ReceiverProgress(mayHaveGaps: true)
            var (sequence, id, newest): (UInt64, Int64, Int64) = (0, 0, 0)
            var (expected, answered): (Int, Int) = (0, 0)
            for _ in 0..<100 {
                if random.chance(50) {
                    let group = events((id + 1)...(id + Int64(random.pick(1...4))))
                    id += Int64(group.count)
                    if random.chance(70) {
                        guard progress.arrived(sequence: sequence, events: group, rid: .server(sequence)) == .kept else {
                            return "refused"
                        }
                        expected += 1
                    }
                    sequence += 1
                }
                if random.chance(5) {
                    answered += progress.succeeded().count
                    progress.sessionStarted()
                    (sequence, expected, answered) = (0, 0, 0)
                }
                guard let batch = progress.nextBatch(limit: random.pick(1...10)) else { continue }
                for event in batch.events {
                    if event.id.rawValue <= newest { return "\(event.id) came after \(newest)" }
                    newest = event.id.rawValue
                }
                answered += (random.chance(80) ? progress.succeeded() : progress.failed()).count
                if answered > expected { return "more answers than calls" }
            }
            return nil
        }
    }
}
