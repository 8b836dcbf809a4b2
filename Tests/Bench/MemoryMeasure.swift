import EventStream
import EventStreamClient
import EventStreamPusher
import LibZMQ
import PosixLoop

/// The pusher's memory while ten receivers catch up with a large backlog, one of them stuck.
enum MemoryMeasure {
    private static let events = 1_000_000

    static func row(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            let empty = try await PusherProcess.with(database) { pusher in
                let receiver = try Receiver("NOBODY", pusher.endpoint, registers: true)
                try await receiver.start()
                await receiver.waitUntilReady()
                await receiver.stop()
                return pusher.process.peakMemory
            }
            try await database.fill(events)
            var peaks: [Double] = []
            for run in 0..<runs { peaks.append(try await peak(database, run: run)) }
            return Row(
                measure: "pusher's memory, 1M backlog, 10 receivers, 1 stuck", baseline: "empty \(empty.text(0)) MB",
                result: "\(peaks.median.text(0)) MB", ratio: "", mark: "< 100 MB", isGood: peaks.median < 100)
        }
    }

    private static func peak(_ database: Database, run: Int) async throws -> Double {
        for number in 0..<10 { try await database.register("MEMORY\(run)\(number)") }
        return try await PusherProcess.with(database) { pusher in
            let stuck = StuckReceiver()
            try await stuck.start("MEMORY\(run)9", pusher.endpoint)
            let receivers = try (0..<9).map { try Receiver("MEMORY\(run)\($0)", pusher.endpoint) }
            for receiver in receivers { try await receiver.start() }
            for receiver in receivers { await receiver.wait(for: events) }
            let peak = pusher.process.peakMemory
            for receiver in receivers { await receiver.stop() }
            await stuck.stop()
            return peak
        }
    }
}

/// Asks for a session, gives signs of life, and never reads what it is sent.
actor StuckReceiver {
    nonisolated let loop = EventLoop()
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var socket: Socket?

    func start(_ component: String, _ endpoint: String) throws {
        let socket = try Socket(.dealer, in: Context(), options: [.receiveHighWaterMark(1)])
        try socket.connect(endpoint)
        self.socket = socket
        // Answers are not read, so the call is simply made again as a sign of life.
        let ready = Array(
            #"{"f":"futoin.evt.push:1.1:readyToReceive","p":{"component":"\#(component)","want":null},"rid":"C1"}"#.utf8)
        func beat() {
            guard let socket = self.socket else { return }
            _ = try? socket.send([ready])
            loop.schedule(after: .seconds(2)) { [weak self] in self?.assumeIsolated { _ in beat() } }
        }
        beat()
    }

    func stop() {
        socket = nil
        loop.stop()
    }
}
