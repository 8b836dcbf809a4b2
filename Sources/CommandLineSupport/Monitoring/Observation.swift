import EventStream
import EventStreamServer
import Logging
import NIOHTTP1
import Prometheus
import ServiceLifecycle
import Synchronization

/// Lets others see how the process is: over HTTP, and the service manager.
struct Observation: Service {
    private let monitors: [RoleMonitor]
    private let metrics: PrometheusRegistry
    private let endpoint: MetricsEndpoint?
    private let log: Log
    private let logger: Logger
    /// Lines of the log that were dropped, as far as the metric has them.
    private let logDropped = LastCount()
    private let logDroppedCounter = Metric.logDropped.counter()
    private let ready: [GaugeMetric]
    private let figures = ProcessFigures()

    init(of monitors: [RoleMonitor], metrics: PrometheusRegistry, endpoint: MetricsEndpoint?, log: Log, logger: Logger) {
        self.monitors = monitors
        self.metrics = metrics
        self.endpoint = endpoint
        self.log = log
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
                    logger.info("metrics", metadata: [.endpoint: "http://\(port)/metrics"])
                    isTold = false
                } answer: { path in
                    await answer(path)
                }
            } catch {
                if !isTold, !Task.isCancelled {
                    logger.warning(
                        "no metrics and no health checks; trying again",
                        metadata: [.endpoint: "\(endpoint)", .error: "\(error)"])
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
            var served: ServedStream?
            for monitor in monitors {
                guard let each = await monitor.serves() else { continue }
                served =
                    served.map {
                        .init(stream: $0.stream ?? each.stream, place: $0.place ?? each.place, table: $0.table ?? each.table)
                    } ?? each
            }
            return .init(
                status: found.allSatisfy(\.readiness.isReady) ? .ok : .serviceUnavailable,
                body: found.map { "\($0.role): \(SafeText.lines($0.readiness.text))" }.joined(separator: "\n"),
                headers: served.map { [("Evt-Stream", "\($0)")] } ?? [])
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
        logDroppedCounter.add(logDropped.increase(to: log.dropped))
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
        if !Task.isCancelled { await manager.notify("READY=1") }
        while !Task.isCancelled {
            guard await stuckRoles().isEmpty else {
                // It may turn again before the manager's timeout is over.
                try? await Task.sleep(for: .milliseconds(500))
                continue
            }
            await manager.notify("WATCHDOG=1")
            let status = await readiness().map { "\($0.role): \($0.readiness.text)" }.joined(separator: "; ")
            await manager.notify("STATUS=\(SafeText.line(status))")
            try? await Task.sleep(for: manager.interval)
        }
        await manager.notify("STOPPING=1")
    }
}

/// How far something has been counted.
private final class LastCount: Sendable {
    private let count = Mutex(0)

    /// - Returns: how much more it is now.
    func increase(to now: Int) -> Int {
        count.withLock { count in
            defer { count = max(count, now) }
            return max(0, now - count)
        }
    }
}
