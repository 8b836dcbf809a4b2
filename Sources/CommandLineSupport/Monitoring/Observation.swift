import EventStreamServices
import Logging
import NIOHTTP1
import Prometheus
import ServiceLifecycle

/// Lets others see how the process is: over HTTP, and the service manager.
struct Observation: Service {
    private let monitors: [RoleMonitor]
    private let metrics: PrometheusRegistry
    private let endpoint: MetricsEndpoint?
    private let logger: Logger
    private let ready: [GaugeMetric]
    private let figures = ProcessFigures()

    init(of monitors: [RoleMonitor], metrics: PrometheusRegistry, endpoint: MetricsEndpoint?, logger: Logger) {
        self.monitors = monitors
        self.metrics = metrics
        self.endpoint = endpoint
        self.logger = logger
        ready = monitors.map { Metric.ready($0.role).gauge() }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                if let endpoint { group.addTask { await serve(on: endpoint) } }
                if let manager = ServiceManager() { group.addTask { await report(to: manager) } }
                group.addTask { try? await gracefulShutdown() }
            }
        }
    }

    // MARK: HTTP

    /// A port that is taken must not keep the stream from running: it is tried again.
    private func serve(on endpoint: MetricsEndpoint) async {
        var isTold = false
        while !Task.isCancelled {
            do {
                try await MetricsServer.run(on: endpoint) { port in
                    logger.info("metrics", metadata: ["endpoint": "http://\(port)/metrics"])
                    isTold = false
                } answer: { path in
                    await answer(path)
                }
            } catch {
                if !isTold, !Task.isCancelled {
                    logger.warning(
                        "no metrics and no health checks; trying again",
                        metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
                }
                isTold = true
            }
            try? await Task.sleep(for: .seconds(2))
        }
    }

    private func answer(_ path: String) async -> MetricsServer.Answer {
        switch path {
        case "/metrics": return .init(status: .ok, type: "text/plain; version=0.0.4; charset=utf-8", body: await text())
        case "/livez":
            let stuck = await stuckRoles()
            return .init(
                status: stuck.isEmpty ? .ok : .serviceUnavailable,
                body: stuck.isEmpty ? "ok" : stuck.map { "\($0): its thread does not turn" }.joined(separator: "\n"))
        case "/readyz":
            let found = await readiness()
            return .init(
                status: found.allSatisfy(\.readiness.isReady) ? .ok : .serviceUnavailable,
                body: found.map { "\($0.role): \($0.readiness.text)" }.joined(separator: "\n"))
        default:
            return .init(status: .notFound, body: "there are /metrics, /livez and /readyz")
        }
    }

    private func text() async -> String {
        // All at once: a scraper waits for 10 s, and each may take most of them.
        await withDiscardingTaskGroup { group in
            for monitor in monitors { group.addTask { await monitor.collect() } }
        }
        for (gauge, found) in zip(ready, await readiness()) { gauge.set(found.readiness.isReady ? 1.0 : 0) }
        return metrics.text() + figures.text()
    }

    private func readiness() async -> [(role: Role, readiness: Readiness)] {
        var found: [(Role, Readiness)] = []
        for monitor in monitors { found.append((monitor.role, await monitor.readiness())) }
        return found
    }

    private func stuckRoles() async -> [Role] {
        var stuck: [Role] = []
        for monitor in monitors where !(await monitor.turns()) { stuck.append(monitor.role) }
        return stuck
    }

    // MARK: The service manager

    private func report(to manager: ServiceManager) async {
        // One that cannot listen ends the process, and has never been ready.
        while !Task.isCancelled, !monitors.allSatisfy(\.hasBegun) { try? await Task.sleep(for: .milliseconds(10)) }
        if !Task.isCancelled { manager.notify("READY=1") }
        while !Task.isCancelled {
            guard await stuckRoles().isEmpty else {
                // It may turn again before the manager's patience is over.
                try? await Task.sleep(for: .milliseconds(500))
                continue
            }
            manager.notify("WATCHDOG=1")
            let status = await readiness().map { "\($0.role): \($0.readiness.text)" }.joined(separator: "; ")
            manager.notify("STATUS=\(status.split(whereSeparator: \.isNewline).joined(separator: " "))")
            try? await Task.sleep(for: manager.interval)
        }
        manager.notify("STOPPING=1")
    }
}
