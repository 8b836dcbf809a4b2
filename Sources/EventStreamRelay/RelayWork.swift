import EventStream
import EventStreamClient
import EventStreamServer
import Logging
import Synchronization

/// Receives as the configuration says: by one receiver, or one for each slice that is free.
final class RelayWork: Sendable {
    private let configuration: Relay.Configuration
    private let shared: RelayWorker.Shared
    /// By the number of their slice.
    private let workers = Mutex<[Int: RelayWorker]>([:])
    private let trouble = Mutex(TroubleLog())
    private var logger: Logger { shared.logger }

    init(_ configuration: Relay.Configuration, _ shared: RelayWorker.Shared) {
        (self.configuration, self.shared) = (configuration, shared)
    }

    /// Works until the surrounding service is told to stop.
    func run() async {
        logger.info("relaying", metadata: [.consumer: "\(configuration.consumer)", .endpoint: "\(shared.sink.name)"])
        if (try? configuration.secrets().isEmpty) ?? false {
            logger.warning("requests are not signed: set EVT_RELAY_SECRET, so that the endpoint can tell who sends them")
        }
        let serving = Task { await serve() }
        await untilShutdown()
        // What is under way ends, and is confirmed, before the sessions end.
        let workers = workers.withLock { Array($0.values) }
        for worker in workers { await worker.stop() }
        for worker in workers { await worker.isOver() }
        serving.cancel()
        await serving.value
        await shared.sink.close()
        logger.info("stopped")
    }

    private func serve() async {
        while !Task.isCancelled {
            do {
                try await receive()
            } catch {
                note(.workerError(error))
                try? await Task.sleep(for: .seconds(5))
            }
        }
    }

    private func receive() async throws(EventStreamError) {
        let component = configuration.consumer.component.name
        guard let slices = configuration.slices else {
            let receiver = try ReliableReceiver(component, receiving)
            let signals = Task {
                for await signal in receiver.signals { note(signal) }
            }
            defer { signals.cancel() }
            return await worker(0).work(on: receiver)
        }
        let receiver = try SlicedReceiver(component, slices: slices, atMost: configuration.slicesMax ?? slices, receiving)
        try await receiver.serve(noting: { self.note($0) }) { await self.worker($0.index).work(on: $1) }
    }

    /// A slice keeps its worker, which knows what was taken.
    private func worker(_ number: Int) -> RelayWorker {
        workers.withLock { workers in
            let worker = workers[number] ?? RelayWorker(number, shared)
            workers[number] = worker
            return worker
        }
    }

    private var receiving: ReceiverConfiguration {
        var receiving = ReceiverConfiguration(endpoints: configuration.connect.list, want: configuration.want)
        receiving.keys = configuration.keys
        receiving.fields = .all
        receiving.keepAlive = configuration.keepAlive
        receiving.sessionTimeout = configuration.keepAlive * 3
        return receiving
    }

    private func note(_ signal: ReceiverSignal) {
        switch signal {
        case .ready:
            shared.status.session(.ready("relaying"))
            if trouble.withLock({ $0.isGoodNews() }) { logger.info("receiving") }
        case .receiverError(let error):
            guard trouble.withLock({ $0.isNews(error.description) }) else { return }
            logger.warning("events were not taken; they come again", metadata: [.error: "\(error)"])
        case .workerError(let error):
            let isNews = trouble.withLock { $0.isNews(error.description) }
            guard error.code != .consumerBusy else {
                let text = "standing by: another relay of this name is at work"
                shared.status.isBusy(text)
                if isNews { logger.info("\(text)") }
                return
            }
            shared.status.session(.notReady(because: "\(error)"))
            if isNews { logger.warning("not receiving; trying again", metadata: [.error: "\(error)"]) }
        case .newEvents, .processedEvents, .newGeneration: break
        }
    }
}
