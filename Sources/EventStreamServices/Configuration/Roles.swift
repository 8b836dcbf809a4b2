public import EventStore
public import EventStream

/// The configurations of the roles, out of the settings.
extension SettingsReader {
    public func streamTables() throws(ConfigurationError) -> StreamTables {
        StreamTables(events: try table(Settings.eventTable), consumers: try table(Settings.consumerTable))
    }

    public func archiveTables() throws(ConfigurationError) -> ArchiveTables {
        ArchiveTables(history: try table(Settings.historyTable))
    }

    /// The archiver as a consumer.
    public func archiverIdentity() throws(ConfigurationError) -> ConsumerIdentity {
        let name = try required(Settings.archiverComponent)
        guard let consumer = ConsumerIdentity(name), !consumer.component.isLive else {
            throw ConfigurationError(
                "EVT_ARCHIVER_COMPONENT: \(shown(name)) is no component name: 1 to 16 of A-Z, a-z, 0-9 and _, with keys after "
                    + "the user's name and a colon")
        }
        return consumer
    }

    public func generatorConnect() throws(ConfigurationError) -> Endpoints {
        try endpoints(Settings.generatorConnect, required(Settings.generatorConnect))
    }
    public func pusherConnect() throws(ConfigurationError) -> Endpoints {
        try endpoints(Settings.pusherConnect, required(Settings.pusherConnect))
    }
    public func liveConnect() throws(ConfigurationError) -> Endpoints {
        try endpoints(Settings.liveConnect, required(Settings.liveConnect))
    }

    public func generator() throws(ConfigurationError) -> Generator.Configuration {
        var configuration = Generator.Configuration(bind: try bound(Settings.generatorBind), database: try database())
        configuration.keys = try serverKeys()
        configuration.limits = try peerLimits()
        configuration.maxRequestBytes = try int(Settings.maxRequestBytes, in: 1024...67_108_864)
        configuration.insecure = try bool(Settings.insecure)
        return configuration
    }

    public func pusher() throws(ConfigurationError) -> Pusher.Configuration {
        var configuration = Pusher.Configuration(
            database: try database(), bind: try bound(Settings.pusherBind), liveBind: try bound(Settings.liveBind))
        configuration.keys = try serverKeys()
        configuration.limits = try peerLimits()
        configuration.allowReliable = try bool(Settings.allowReliable)
        configuration.allowPolling = try bool(Settings.allowPolling)
        configuration.maxChunkEvents = try int(Settings.maxChunkEvents, in: 1...1000)
        configuration.groupLimits.bytes = try int(Settings.groupBytes, in: 1024...8_380_416)
        configuration.delivery.requestMax = try int(Settings.requestMax, in: 1...1000)
        configuration.delivery.ackTimeout = try duration(Settings.ackTimeout, in: .milliseconds(100) ... .seconds(3600))
        configuration.queueMax = try int(Settings.queueMax, in: 1...1_000_000)
        configuration.sessionTimeout = try duration(Settings.sessionTimeout, in: .milliseconds(500) ... .seconds(3600))
        guard let failOver = FailOver(rawValue: try required(Settings.failOver)) else {
            throw mismatch(Settings.failOver, try required(Settings.failOver))
        }
        configuration.failOver = failOver
        var latch = configuration.head.latch
        latch.shortestPause = try duration(Settings.sleepMin, in: .microseconds(50) ... .seconds(60))
        latch.longestSleep = try duration(Settings.sleepMax, in: .milliseconds(1) ... .seconds(600))
        if optional(Settings.sleepStep)?.isEmpty == false {
            latch.step = try duration(Settings.sleepStep, in: .zero ... .seconds(600))
        }
        latch.longestPause = max(latch.shortestPause, min(latch.longestPause, latch.longestSleep))
        configuration.head.latch = latch
        configuration.maxRequestBytes = try int(Settings.maxRequestBytes, in: 1024...67_108_864)
        configuration.windowBytes = try int(Settings.windowBytes, in: 1 << 20...16 << 30)
        configuration.sendBytes = try int(Settings.sendBytes, in: 1 << 20...16 << 30)
        configuration.insecure = try bool(Settings.insecure)
        return configuration
    }

    /// How long receivers and pushers wait for each other.
    public func sessionTimeout() throws(ConfigurationError) -> Duration {
        try duration(Settings.sessionTimeout, in: .milliseconds(500) ... .seconds(3600))
    }

    public func archiver() throws(ConfigurationError) -> Archiver.Configuration {
        var configuration = Archiver.Configuration(
            url: try archive(), tables: try archiveTables(), connect: try pusherConnect())
        configuration.file = archiveFile()
        configuration.keys = try clientKeys()
        configuration.consumer = try archiverIdentity()
        configuration.transactionMax = try int(Settings.archiverBatch, in: 1...1_000_000)
        configuration.keepAlive = min(configuration.keepAlive, try sessionTimeout() / 3)
        if let types = optional(Settings.archiverWant), !types.isEmpty {
            configuration.want = try eventFilter(types, of: Settings.archiverWant.name)
        }
        return configuration
    }

    public func discarder() throws(ConfigurationError) -> Discarder.Configuration {
        var configuration = Discarder.Configuration(database: try database())
        configuration.pollPeriod = try duration(Settings.discardPollPeriod, in: .milliseconds(100) ... .seconds(7 * 86_400))
        configuration.limitAtOnce = try int(Settings.discardLimit, in: 1...1_000_000)
        configuration.warnEvents = try int(Settings.discardWarnEvents, in: 1...1_000_000_000_000)
        configuration.required = try requiredArchives()
        return configuration
    }

    /// The archivers of EVT_DISCARD_REQUIRE.
    private func requiredArchives() throws(ConfigurationError) -> [RequiredArchive] {
        let setting = Settings.discardRequire
        var archives: [RequiredArchive] = []
        for entry in (optional(setting) ?? "").split(separator: ",").map({ $0.trimmed }) where !entry.isEmpty {
            var name = entry[...]
            var url: String?
            var tables = try archiveTables()
            if let at = name.lastIndex(of: "@") {
                let service = name[name.index(after: at)...]
                guard !service.isEmpty,
                    service.utf8.allSatisfy({ $0 > 0x20 && $0 != UInt8(ascii: "'") && $0 != UInt8(ascii: "\\") })
                else { throw ConfigurationError("\(setting.name): \(shown(entry)) names no service; it is \(setting.meaning)") }
                url = "service=\(service)"
                name = name[..<at]
            }
            if let equals = name.firstIndex(of: "=") {
                guard let table = TableName(String(name[name.index(after: equals)...])) else {
                    throw ConfigurationError(
                        "\(setting.name): \(shown(entry)) names no table; an entry is COMPONENT=schema.table")
                }
                tables = ArchiveTables(history: table)
                name = name[..<equals]
            }
            guard let consumer = ConsumerIdentity(String(name)), !consumer.component.isLive else {
                throw ConfigurationError("\(setting.name): \(shown(entry)) names no component; it is \(setting.meaning)")
            }
            if let url {
                archives.append(.init(consumer: consumer, url: url, tables: tables))
            } else {
                var required = RequiredArchive(consumer: consumer, url: try archive(), tables: tables)
                required.file = archiveFile()
                archives.append(required)
            }
        }
        return archives
    }
}

/// Reads event types separated by commas.
public func eventFilter(_ text: String, of name: String) throws(ConfigurationError) -> EventFilter {
    let types = text.split(separator: ",").map { $0.trimmed }.map { EventType($0) }
    guard let filter = EventFilter(Set(types.compactMap { $0 })), !types.contains(nil) else {
        throw ConfigurationError("\(name): \(shown(text)) is no list of event types, each 1 to 16 of A-Z and _")
    }
    return filter
}
