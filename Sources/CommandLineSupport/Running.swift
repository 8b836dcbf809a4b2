import ArgumentParser
public import EventStreamServices
import FoundationEssentials
import Glibc
public import Logging
public import ServiceLifecycle
import UnixSignals

extension SettingsReader {
    /// Puts flags, environment and file together.
    public init(_ common: CommonOptions, _ groups: any SettingFlags...) async throws {
        var flags: [String: String] = [:]
        for (setting, value) in (groups + [common]).flatMap(\.values) where value != nil {
            flags[setting.name] = value
            guard ![Settings.databaseURL, Settings.archiveURL].contains(setting) || !holdsPassword(value ?? "") else {
                throw ValidationError(
                    "--\(setting.flag): everyone on this machine can read the password there; "
                        + "put it in \(setting.name), in a file (--env-file) or in ~/.pgpass")
            }
        }
        let file = common.envFile ?? ProcessInfo.processInfo.environment["EVT_ENV_FILE"]
        try await self.init(flags: flags, file: file)
    }
}

/// Whether a connection string has a password in it.
public func holdsPassword(_ url: String) -> Bool {
    if url.contains("password=") { return true }
    guard let scheme = url.firstRange(of: "://"), let at = url.lastIndex(of: "@"), scheme.upperBound <= at else { return false }
    return url[scheme.upperBound..<at].contains(":")
}

/// Every connection takes a descriptor: as many as the system allows, not the few it gives by default.
private func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

/// Runs services until SIGTERM or SIGINT, then stops them; a second signal ends the process at once.
///
/// The process ends with status 0 after a clean stop, 1 if a service failed.
public func runServices(_ settings: SettingsReader, label: String, _ make: (Logger) throws -> [any Service]) async throws {
    let json = try settings.logsJSON()
    let level = try settings.logLevel()
    LoggingSystem.bootstrap { LineLogHandler(label: $0, json: json, level: level) }
    raiseDescriptorLimit()
    keepFreedMemory()
    let logger = Logger(label: label)
    let services: [any Service]
    do {
        services = try make(logger)
    } catch let error as ConfigurationError {
        throw ValidationError(error.message)
    }
    var quiet = Logger(label: label)
    quiet.logLevel = .critical
    var configuration = ServiceGroupConfiguration(
        services: services.map {
            .init(
                service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                failureTerminationBehavior: .gracefullyShutdownGroup)
        }, gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
    configuration.maximumGracefulShutdownDuration = .seconds(4)
    do {
        try await SecondSignal.run(ServiceGroup(configuration: configuration), logger: logger)
    } catch {
        logger.critical("stopped by an error", metadata: ["error": "\(error)"])
        throw ExitCode.failure
    }
}
