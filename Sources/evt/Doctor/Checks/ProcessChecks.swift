import CommandLineSupport
import EventStreamServer

/// Asks the processes themselves how they are.
enum ProcessChecks {
    /// What was found, and whose it is.
    struct Found: Sendable {
        let finding: Finding
        let endpoint: MetricsEndpoint
        let served: ServedStream?

        /// - Parameter stream: the database's; nil if it is not known.
        func judged(by stream: ServedStream?) -> Finding {
            guard let stream, let served, served.isOther(than: stream) else { return finding }
            return Finding(
                .warning, "process", "what answers at \(endpoint) serves another stream (\(served)); this one is \(stream)",
                advice:
                    "name the metrics of this stream's processes (EVT_METRICS_CONNECT), or the database that was meant "
                    + "(EVT_DATABASE_URL, EVT_EVENT_TABLE)")
        }
    }

    /// - Parameter endpoints: where their metrics are; one that nothing listens at may be no fault, for they may be elsewhere.
    static func found(_ endpoints: [MetricsEndpoint]) async -> [Found] {
        await withTaskGroup(of: (Int, Found?).self) { group in
            for (index, endpoint) in endpoints.enumerated() {
                group.addTask {
                    var served: ServedStream?
                    let finding = await finding(endpoint, &served)
                    return (index, finding.map { Found(finding: $0, endpoint: endpoint, served: served) })
                }
            }
            var found: [(Int, Found?)] = []
            for await each in group { found.append(each) }
            return found.sorted { $0.0 < $1.0 }.compactMap(\.1)
        }
    }

    private static func finding(_ endpoint: MetricsEndpoint, _ served: inout ServedStream?) async -> Finding? {
        do {
            let answer = try await HTTPFetch.get("/readyz", from: endpoint, within: .seconds(4))
            served = answer.served
            guard answer.status == 200 || answer.status == 503 else {
                return Finding(
                    .warning, "process",
                    "what answers at \(endpoint) is none of the stream's processes (HTTP status \(answer.status))",
                    advice: "end it, or let the process listen elsewhere (EVT_METRICS_BIND; for evt doctor, EVT_METRICS_CONNECT)")
            }
            let text = answer.body.replacing("\n\t", with: " ").split(separator: "\n").joined(separator: "; ")
            guard answer.status != 200 else { return Finding(.fine, "process", "\(endpoint): \(text)") }
            return Finding(
                .critical, "process", "\(endpoint): \(text)",
                advice: "other findings may say more; it goes on by itself when that is put right, and its log has the rest")
        } catch is HTTPFetch.NoAnswer {
            return Finding(
                .critical, "process",
                "what listens at \(endpoint) does not answer: if it is a process of the stream, it is frozen, or has no time",
                advice:
                    "find it (ss -ltnp). If it is evt-…: look at it (SIGSTOP, swapping, a debugger?), then kill -9 and start it "
                    + "again, nothing is lost; if it is another program, set EVT_METRICS_CONNECT")
        } catch is HTTPFetch.Refused {
            return Finding(
                .warning, "process",
                "what listens at \(endpoint) ends connections without an answer: another program, or one that is asked too much",
                advice: "find it (ss -ltnp); if it is none of the stream's, set EVT_METRICS_CONNECT")
        } catch {
            return Finding(
                .note, "process", "nothing listens at \(endpoint)",
                advice:
                    "if a process should run there, start it; if it runs elsewhere, or without metrics, set EVT_METRICS_CONNECT")
        }
    }
}
