import CoreMetrics
import Synchronization

/// What one series shows.
protocol Exposed: AnyObject, Sendable {
    /// Appends its lines.
    func write(_ name: String, _ labels: String, to output: inout String)
}

/// Only grows.
final class Count: CounterHandler, FloatingPointCounterHandler, Exposed {
    private let value = Mutex(0.0)

    func increment(by amount: Int64) { value.withLock { $0 += Double(max(0, amount)) } }
    func increment(by amount: Double) { value.withLock { if amount > 0, amount.isFinite { $0 += amount } } }
    func reset() { value.withLock { $0 = 0 } }

    func write(_ name: String, _ labels: String, to output: inout String) {
        output += "\(name)\(labels) \(number(value.withLock { $0 }))\n"
    }
}

/// Goes up and down. Not a number where it is not known.
final class Level: MeterHandler, RecorderHandler, Exposed {
    private let value = Mutex(0.0)

    func set(_ amount: Int64) { set(Double(amount)) }
    func set(_ amount: Double) { value.withLock { $0 = amount } }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { value.withLock { $0 -= amount } }
    func record(_ amount: Int64) { set(Double(amount)) }
    func record(_ amount: Double) { set(amount) }

    func write(_ name: String, _ labels: String, to output: inout String) {
        output += "\(name)\(labels) \(number(value.withLock { $0 }))\n"
    }
}

/// How many values fell below each bound.
final class Distribution: TimerHandler, RecorderHandler, Exposed {
    private struct State {
        /// One a bound, and one for what is above all.
        var counts: [UInt64]
        var sum = 0.0
    }

    private let bounds: [Double]
    private let unit: Double
    private let state: Mutex<State>

    /// - Parameter unit: what is recorded is multiplied by this.
    init(bounds: [Double], unit: Double) {
        self.bounds = bounds
        self.unit = unit
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }
    func record(_ value: Int64) { record(Double(value)) }
    func record(_ value: Double) {
        let value = value * unit
        guard value.isFinite else { return }
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock {
            $0.counts[index] += 1
            $0.sum += value
        }
    }

    func write(_ name: String, _ labels: String, to output: inout String) {
        let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
        let others = labels.isEmpty ? "{" : labels.dropLast() + ","
        var total: UInt64 = 0
        for (count, bound) in zip(counts, bounds.map { number($0) } + ["+Inf"]) {
            total += count
            output += "\(name)_bucket\(others)le=\"\(bound)\"} \(total)\n"
        }
        output += "\(name)_sum\(labels) \(number(sum))\n\(name)_count\(labels) \(total)\n"
    }
}

/// As Prometheus reads it; whole numbers without a fraction.
private func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
}
