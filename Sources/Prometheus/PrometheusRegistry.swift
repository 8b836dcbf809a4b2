package import CoreMetrics
import Synchronization

/// A backend of swift-metrics that keeps every metric in memory and shows it as Prometheus text.
///
/// Counters are counters; gauges, meters and recorders that do not aggregate are gauges; timers are histograms in seconds, and
/// recorders that aggregate are histograms of what they are given.
///
/// Memory is bounded: a metric has at most so many series. Counters and histograms beyond count together, under the label value
/// `other`; gauges beyond are not shown.
package final class PrometheusRegistry: MetricsFactory {
    private let help: [String: String]
    private let buckets: [String: [Double]]
    private let seriesLimit: Int
    private let families = Mutex<[String: Family]>([:])

    /// Bucket bounds for durations, in seconds: from a quarter of a millisecond to a minute.
    package static let durations: [Double] = [
        0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]

    /// - Parameters:
    ///   - help: what each metric means, by its name.
    ///   - buckets: the upper bounds of a histogram's buckets, ascending, by its name; ``durations`` for others.
    ///   - seriesLimit: series of one metric at most; at least 1.
    package init(help: [String: String] = [:], buckets: [String: [Double]] = [:], seriesLimit: Int = 1000) {
        self.help = help
        self.buckets = buckets
        self.seriesLimit = max(1, seriesLimit)
    }

    /// Every metric, in the text format 0.0.4 of Prometheus: by name, each with what it means.
    package func text() -> String {
        let families = families.withLock { $0 }
        var output = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) where !family.series.isEmpty {
            output += "# HELP \(name) \(escaped(help[name] ?? ""))\n# TYPE \(name) \(family.kind.rawValue)\n"
            for series in family.series.values.sorted(by: { $0.labels < $1.labels }) {
                series.value.write(name, series.labels, to: &output)
            }
        }
        return output
    }

    // MARK: MetricsFactory

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(.counter, label, dimensions) { Count() }
    }
    package func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        series(.counter, label, dimensions) { Count() }
    }
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(.gauge, label, dimensions) { Level() }
    }
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return series(.gauge, label, dimensions) { Level() } }
        return series(.histogram, label, dimensions) { Distribution(bounds: self.bounds(of: label), unit: 1) }
    }
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(.histogram, label, dimensions) { Distribution(bounds: self.bounds(of: label), unit: 1e-9) }
    }

    package func destroyCounter(_ handler: any CounterHandler) { destroy(handler) }
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { destroy(handler) }
    package func destroyMeter(_ handler: any MeterHandler) { destroy(handler) }
    package func destroyRecorder(_ handler: any RecorderHandler) { destroy(handler) }
    package func destroyTimer(_ handler: any TimerHandler) { destroy(handler) }

    // MARK: Series

    private enum Kind: String { case counter, gauge, histogram }

    private struct Series {
        let labels: String
        let value: any Exposed
        /// How many handles there are; the last one to go takes the series with it.
        var handles = 1
    }

    private struct Family {
        let kind: Kind
        var series: [String: Series] = [:]
    }

    private func bounds(of name: String) -> [Double] { buckets[name] ?? PrometheusRegistry.durations }

    private func series<Value: Exposed>(
        _ kind: Kind, _ name: String, _ dimensions: [(String, String)], _ make: () -> Value
    ) -> Value {
        families.withLock { families in
            var family = families[name] ?? Family(kind: kind)
            // One name has one kind. What contradicts is counted, and not shown.
            guard family.kind == kind else { return make() }
            var labels = text(of: dimensions)
            if family.series[labels] == nil, family.series.count >= seriesLimit {
                guard kind != .gauge else { return make() }
                labels = text(of: dimensions.map { ($0.0, "other") })
            }
            defer { families[name] = family }
            if let known = family.series[labels]?.value as? Value {
                family.series[labels]?.handles += 1
                return known
            }
            let value = make()
            family.series[labels] = Series(labels: labels, value: value)
            return value
        }
    }

    private func destroy(_ handler: any Sendable) {
        guard let value = handler as? any Exposed else { return }
        families.withLock { families in
            for (name, family) in families {
                guard let (labels, series) = family.series.first(where: { $0.value.value === value }) else { continue }
                families[name]?.series[labels] = nil
                if series.handles > 1 {
                    families[name]?.series[labels] = Series(labels: labels, value: value, handles: series.handles - 1)
                }
            }
        }
    }

    /// `{a="1",b="2"}`; nothing where there are no labels.
    private func text(of dimensions: [(String, String)]) -> String {
        guard !dimensions.isEmpty else { return "" }
        return "{\(dimensions.map { "\($0.0)=\"\(escaped($0.1, quotes: true))\"" }.joined(separator: ","))}"
    }

    private func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
        return switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }

    private func escaped(_ text: String, quotes: Bool = false) -> String {
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\"" where quotes: output += "\\\""
            // The format has no escapes for these; whoever looks at the text with a terminal is not to obey them.
            case _ where isUnsafe(scalar): output += "\\\\u{\(String(scalar.value, radix: 16))}"
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }
}
