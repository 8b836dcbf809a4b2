import EventStream
import Foundation
import LibZMQ
import PosixLoop
import Synchronization
import TestSupport
import Testing

extension FaultTests {
    /// Receivers that never answer, answer twice, answer for others, or answer with errors for ever.
    @Suite struct BadReceiverTests {
        enum Behaviour: String, CaseIterable, Sendable {
            /// Takes what comes and says nothing, not even that it lives.
            case silent
            /// Gives signs of life, and answers nothing.
            case deaf
            /// Answers everything twice, once with an error.
            case doubling
            /// Answers for every call that it can guess.
            case guessing
            /// Every group is more than it can process.
            case failing
        }

        @Test func badReceiversDisturbNoGoodOne() async throws {
            try await Deployment.with { deployment in
                let pusher = try deployment.start("evt-pusher", [], ["EVT_ACK_TIMEOUT": "500ms", "EVT_SESSION_TIMEOUT": "2s"])
                try await PersistentReceiver.following(deployment) { receiver in
                    try await deployment.goesOn(receiver, "at first")
                    let bad = Behaviour.allCases.map { BadReceiver($0, at: deployment.environment["EVT_PUSHER_CONNECT"]!) }
                    for each in bad { try await each.start() }
                    let load = WriterLoad(writers: 2, seed: 9, largest: 20, idle: 20)
                    try await load.run(on: deployment.active) {
                        for round in 0..<20 { try await deployment.goesOn(receiver, "beside bad receivers, \(round)") }
                        for each in bad where ![.silent, .doubling].contains(each.behaviour) {
                            try await eventually("\(each.behaviour)'s groups") { each.calls > 5 }
                        }
                        // What is sent again and again is reported once in a while, with the events and the reason.
                        let reports = { pusher.output.split(separator: "\n").filter { $0.contains("cannot process a group") } }
                        try await eventually("a report") { reports().contains { $0.contains("local:failing") } }
                        let report = reports().first { $0.contains("local:failing") } ?? ""
                        for part in ["first_id=1 ", "last_id=", "attempts=", "too much for me"] {
                            #expect(report.contains(part), "\(report)")
                        }
                        #expect(reports().count < 10 + 2 * pusher.secondsOfLog)
                    }
                    // An error counts as little as silence.
                    for behaviour in [Behaviour.silent, .deaf, .failing] {
                        #expect(try await deployment.position(of: behaviour.rawValue) == 0, "\(behaviour)")
                    }
                    for each in bad { await each.stop() }
                    // The consumer of one that was bad goes to the next one that asks.
                    let next = PersistentReceiver("deaf", at: [deployment.environment["EVT_PUSHER_CONNECT"]!])
                    try await next.start()
                    try await next.check(deployment)
                    await next.stop()
                }
                ["evt-pusher": pusher].expectLog(lines: 60)
                #expect(try await pusher.terminate().status == 0)
            }
        }
    }
}

/// A peer that knows the wire, and not how to behave.
private final class BadReceiver: Sendable {
    let behaviour: FaultTests.BadReceiverTests.Behaviour
    private let endpoint: String
    private let home = LoopActor()
    private let count = Mutex(0)
    private let isStopped = Mutex(false)

    /// How many groups came.
    var calls: Int { count.withLock { $0 } }

    init(_ behaviour: FaultTests.BadReceiverTests.Behaviour, at endpoint: String) {
        self.behaviour = behaviour
        self.endpoint = endpoint
    }

    func stop() async {
        isStopped.withLock { $0 = true }
        await home.run { _ in }
        home.loop.stop()
    }

    func start() async throws {
        let box = try await home.run { loop in
            let socket = try Socket(.dealer, in: Context())
            try socket.connect(self.endpoint)
            return Unchecked((socket, loop))
        }
        Task { await home.run { _ in await self.run(box.value.0, box.value.1) } }
    }

    private func run(_ socket: Socket, _ loop: EventLoop) async {
        func send(_ text: String) { _ = try? socket.send([Array(text.utf8)]) }
        let name = behaviour.rawValue
        let ready = #"{"f":"futoin.evt.push:1.1:readyToReceive","p":{"component":"\#(name)","want":null},"rid":"C2"}"#
        send(#"{"f":"futoin.evt.push:1.1:registerConsumer","p":{"component":"\#(name)"},"rid":"C1"}"#)
        send(ready)
        let source = SocketSource(socket) { message in
            guard let call = OnEvents(frame: message.frames.last!), let rid = call.rid?.contents else { return }
            self.count.withLock { $0 += 1 }
            let refusal = #"{"e":"InternalError","edesc":"too much for me","rid":"\#(String(decoding: rid, as: UTF8.self))"}"#
            let success = #"{"r":true,"rid":"\#(String(decoding: rid, as: UTF8.self))"}"#
            switch self.behaviour {
            case .silent, .deaf: break
            case .doubling: [success, refusal, success].forEach(send)
            case .failing: send(refusal)
            case .guessing:
                guard let number = call.rid?.number else { return }
                for offset in 1...20 {
                    send(#"{"r":true,"rid":"S\#(number - UInt64(offset))"}"#)
                    send(#"{"r":true,"rid":"S\#(number + UInt64(offset) * 1000)"}"#)
                }
            }
        }
        loop.add(source)
        while !isStopped.withLock({ $0 }) {
            try? await Task.sleep(for: .milliseconds(200))
            if behaviour != .silent { send(ready) }
        }
        loop.remove(source)
    }
}
