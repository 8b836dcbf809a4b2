import EventStreamServer
import Foundation
import Testing

/// What is given to Prometheus and Grafana asks for metrics that there are.
@Suite struct MetricNameTests {
    private static let etc = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../etc")

    /// The metrics that a file names.
    private func names(in file: String) throws -> Set<String> {
        let text = try String(contentsOf: Self.etc.appending(path: file), encoding: .utf8)
        let known = Set(Metric.all.map(\.name))
        return Set(
            text.matches(of: /\bevt_[a-z_]*[a-z]/).map { match in
                let name = String(match.output)
                let part = ["_bucket", "_sum", "_count"].first { name.hasSuffix($0) }
                return part.map { String(name.dropLast($0.count)) }.flatMap { known.contains($0) ? $0 : nil } ?? name
            })
    }

    @Test(arguments: ["prometheus/alerts.yml", "prometheus/alerts_test.yml", "grafana/eventstream.json"])
    func everyNameIsAMetrics(_ file: String) throws {
        let names = try names(in: file)
        #expect(!names.isEmpty && names.subtracting(Metric.all.map(\.name)).isEmpty)
    }

    @Test func everyMetricIsOnTheDashboard() throws {
        #expect(try Set(Metric.all.map(\.name)).subtracting(names(in: "grafana/eventstream.json")).isEmpty)
    }

    @Test func namesSayWhoseTheyAreAndInWhichUnit() {
        for metric in Metric.all {
            #expect(metric.name.wholeMatch(of: /evt(_[a-z]+)+/) != nil)
            #expect(!metric.help.isEmpty && !metric.help.hasSuffix("."))
        }
        #expect(Set(Metric.all.map(\.name)).count == Metric.all.count)
    }
}
