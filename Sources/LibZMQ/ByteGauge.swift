import Synchronization

/// Counts the bytes that libzmq holds for us: handed over, and neither written to the system nor dropped yet.
package final class ByteGauge: Sendable {
    private let value = Atomic<Int>(0)

    package init() {}

    package var bytes: Int { value.load(ordering: .relaxed) }
    func add(_ count: Int) { value.add(count, ordering: .relaxed) }
    func subtract(_ count: Int) { value.subtract(count, ordering: .relaxed) }
}

/// A payload in libzmq's hands; every subscriber's queue shares it.
final class GaugedPayload: Sendable {
    private let gauges: [ByteGauge]
    private let count: Int

    init(_ count: Int, _ gauges: [ByteGauge]) {
        self.gauges = gauges
        self.count = count
        for gauge in gauges { gauge.add(count) }
    }

    deinit { for gauge in gauges { gauge.subtract(count) } }
}
