/// How long things took: a histogram, so that any number of them fits.
struct Latencies: CustomStringConvertible {
    /// Milliseconds, rounded down to tenths.
    private var counts: [Int: Int] = [:]
    private(set) var count = 0

    mutating func add(milliseconds: Double) {
        counts[Int(milliseconds * 10), default: 0] += 1
        count += 1
    }

    /// - Parameter part: 0.5 for the median.
    /// - Returns: milliseconds.
    func percentile(_ part: Double) -> Double {
        var left = Int(Double(count) * part)
        for (tenths, number) in counts.sorted(by: { $0.key < $1.key }) {
            left -= number
            if left < 0 { return Double(tenths) / 10 }
        }
        return 0
    }

    var description: String { "p50 \(percentile(0.5)) ms, p99 \(percentile(0.99)) ms" }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
