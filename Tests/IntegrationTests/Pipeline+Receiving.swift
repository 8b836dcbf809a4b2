import EventStream
import EventStreamClient
import PosixLoop
import TestSupport

extension Pipeline {
    /// Receives and confirms as a consumer while `body` runs.
    func receiving(
        _ component: String, want: [String]? = nil, into collector: Collector = Collector(),
        configure: (inout ReceiverConfiguration) -> Void = { _ in }, _ body: (Collector) async throws -> Void
    ) async throws {
        // A thread of its own: tests that run at the same time would wait for each other's.
        let loop = EventLoop()
        defer { loop.stop() }
        let receiver = try receiver(component, want: want, loop: loop, configure: configure)
        let reading = Task {
            for await batch in receiver.batches {
                await collector.add(batch.events)
                await batch.confirm()
            }
        }
        let listening = Task {
            for await signal in receiver.signals {
                switch signal {
                case .workerError(let error), .receiverError(let error): await collector.failed(error)
                case .ready, .newEvents, .processedEvents, .newGeneration: break
                }
            }
        }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body(collector))
        } catch {
            outcome = .failure(error)
        }
        await receiver.stop()
        _ = await (reading.value, listening.value)
        try outcome.get()
    }

    /// The ids of all events in the active table.
    func recorded() async throws -> [EventID] {
        try await TestDatabase.rows("SELECT id FROM evt_queue ORDER BY id", on: active).map { EventID($0[0]!)! }
    }
}
