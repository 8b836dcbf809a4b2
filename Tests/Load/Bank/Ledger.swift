import EventStream
import EventStreamClient
import Foundation

/// A receiver's own idea of all balances, rebuilt from the stream alone.
actor Ledger {
    static let type = EventType("TPCB")!

    private struct Transfer: Decodable {
        let account: Int
        let delta: Int
    }

    private(set) var count = 0
    private(set) var outOfOrder = 0
    private(set) var repeated = 0
    private(set) var balances: [Int: Int] = [:]
    private var last: EventID
    let start: EventID
    /// From the recording of an event to its receipt.
    private(set) var latencies = Latencies()
    private var waiter: (Int, CheckedContinuation<Void, Never>)?

    init(after start: EventID) {
        self.start = start
        last = start
    }

    func add(_ batch: EventBatch) async {
        let now = Date().timeIntervalSince1970
        for event in batch.events where event.id > start {
            guard event.id > last else {
                if event.id == last { repeated += 1 } else { outOfOrder += 1 }
                continue
            }
            last = event.id
            guard event.type == Ledger.type,
                let transfer = try? JSONDecoder().decode(Transfer.self, from: Data(event.data.bytes))
            else { continue }
            balances[transfer.account, default: 0] += transfer.delta
            count += 1
            latencies.add(milliseconds: (now - Double(event.timestamp.microseconds) / 1e6) * 1000)
        }
        await batch.confirm()
        if let (target, continuation) = waiter, count >= target {
            waiter = nil
            continuation.resume()
        }
    }

    /// Waits until so many events have arrived, or none has for a minute.
    func wait(for target: Int) async {
        guard count < target else { return }
        let timeout = Task {
            var before = -1
            while before != self.count {
                before = self.count
                try await Task.sleep(for: .seconds(60))
            }
            self.giveUp()
        }
        await withCheckedContinuation { waiter = (target, $0) }
        timeout.cancel()
    }

    private func giveUp() {
        waiter?.1.resume()
        waiter = nil
    }
}
