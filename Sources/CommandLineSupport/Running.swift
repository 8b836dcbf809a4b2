import ArgumentParser
package import EventStreamServer
import FoundationEssentials
import Glibc
import LibPQ
package import Logging
import Metrics
import Prometheus
import ServiceLifecycle
import UnixSignals

/// Every connection takes a descriptor: as many as the system allows, not the few it gives by default.
///
/// - Returns: how many there are.
private func raiseDescriptorLimit() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return .max }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
}

/// With fewer, libraries below end the process as soon as they get none, with words that nobody understands.
private let fewestDescriptors = 64

/// Runs services until SIGTERM or SIGINT, then stops them; a second signal ends the process at once. SIGHUP makes those that
/// can read their files again.
///
/// The process ends with status 0 after a clean stop, 1 if a service failed.
///
/// - Parameters:
///   - label: names the process in its log.
///   - roles: what it is; at least one.
package func runServices(
    _ settings: SettingsReader, label: String, as roles: [Role], _ make: (Logger) throws -> [any ServesRoles]
) async throws {
    let level = try settings.logLevel
    let log = Log(label: label, json: try settings.logFormat == .json)
    LogWriter.writeBeforeTraps()
    // Also before an error is told, which is not for the log.
    defer { log.flush() }
    LoggingSystem.bootstrap { _ in LineLogHandler(level: level, log: log) }
    keepFreedMemory()
    let logger = Logger(label: label)
    for name in settings.unknown { logger.warning("unknown setting; check the spelling", metadata: [.name: "\(name)"]) }
    let descriptors = raiseDescriptorLimit()
    guard descriptors >= fewestDescriptors else {
        logger.critical(
            "too few files may be open at once: raise the limit (ulimit -n, LimitNOFILE=)",
            metadata: [.limit: "\(descriptors)", .least: "\(fewestDescriptors)"])
        throw ExitCode.failure
    }
    let metrics = PrometheusRegistry(
        help: Dictionary(Metric.all.map { ($0.name, $0.help) }, uniquingKeysWith: { $1 }), seriesLimit: 10_000)
    MetricsSystem.bootstrap(metrics)
    let roleServices: [any ServesRoles]
    let observation: Observation
    do {
        roleServices = try make(logger)
        let endpoint = try roles.first.flatMap { try settings.metricsBind($0) }
        observation = Observation(
            of: roleServices.flatMap(\.monitors), metrics: metrics, endpoint: endpoint, log: log, logger: logger)
    } catch let error as ConfigurationError {
        throw ValidationError(error.message)
    }
    let requests = await UnixSignalsSequence(trapping: .sighup)
    let hangups = Task {
        for await _ in requests {
            for service in roleServices { service.reload() }
        }
    }
    defer { hangups.cancel() }
    var quiet = Logger(label: label)
    quiet.logLevel = .critical
    var configuration = ServiceGroupConfiguration(
        services: (roleServices + [observation] as [any Service]).map {
            .init(
                service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                failureTerminationBehavior: .gracefullyShutdownGroup)
        }, logger: quiet)
    configuration.maximumGracefulShutdownDuration = .seconds(4)
    do {
        try await SecondSignal.run(ServiceGroup(configuration: configuration), logger: logger, log: log)
    } catch {
        logger.critical("stopped by an error", metadata: [.error: "\(error)"])
        throw ExitCode.failure
    }
}
