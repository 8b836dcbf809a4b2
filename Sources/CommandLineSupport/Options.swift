public import ArgumentParser
public import EventStreamServices

extension Option where Value == String? {
    /// A flag for a setting.
    public init(_ setting: Setting) {
        let standard = setting.standard.map { " (default \($0.isEmpty ? "none" : $0))" } ?? ""
        self.init(
            name: .customLong(setting.flag),
            help: ArgumentHelp("\(setting.meaning)\(standard); environment: \(setting.name)", valueName: "value"))
    }
}

/// A group of flags that stand for settings.
public protocol SettingFlags: ParsableArguments {
    /// The settings with the values given, nil where the flag was left out.
    var values: [(Setting, String?)] { get }
}

public struct CommonOptions: SettingFlags {
    @Option(help: "a file of NAME=value lines, read after flags and environment; environment: EVT_ENV_FILE")
    public var envFile: String?
    @Option(Settings.logLevel) public var logLevel: String?
    @Option(Settings.logFormat) public var logFormat: String?
    public init() {}
    public var values: [(Setting, String?)] { [(Settings.logLevel, logLevel), (Settings.logFormat, logFormat)] }
}

public struct DatabaseOptions: SettingFlags {
    @Option(Settings.databaseURL) public var databaseURL: String?
    @Option(Settings.databaseURLFile) public var databaseURLFile: String?
    @Option(Settings.eventTable) public var eventTable: String?
    @Option(Settings.consumerTable) public var consumerTable: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.databaseURL, databaseURL), (Settings.databaseURLFile, databaseURLFile), (Settings.eventTable, eventTable),
            (Settings.consumerTable, consumerTable),
        ]
    }
}

public struct ArchiveOptions: SettingFlags {
    @Option(Settings.archiveURL) public var archiveURL: String?
    @Option(Settings.archiveURLFile) public var archiveURLFile: String?
    @Option(Settings.historyTable) public var historyTable: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.archiveURL, archiveURL), (Settings.archiveURLFile, archiveURLFile), (Settings.historyTable, historyTable),
        ]
    }
}

public struct GeneratorOptions: SettingFlags {
    @Option(Settings.generatorBind) public var generatorBind: String?
    public init() {}
    public var values: [(Setting, String?)] { [(Settings.generatorBind, generatorBind)] }
}

/// Of those who listen and of those who connect.
public struct KeyOptions: SettingFlags {
    @Option(Settings.curveKey) public var curveKey: String?
    public init() {}
    public var values: [(Setting, String?)] { [(Settings.curveKey, curveKey)] }
}

public struct SocketOptions: SettingFlags {
    @Option(Settings.maxRequestBytes) public var maxRequestBytes: String?
    @Option(Settings.authorizedKeys) public var authorizedKeys: String?
    @Option(Settings.ipcMode) public var ipcMode: String?
    @Option(Settings.maxConnections) public var maxConnections: String?
    @Option(Settings.userConnections) public var userConnections: String?
    @Option(Settings.userSessions) public var userSessions: String?
    @Option(Settings.userConsumers) public var userConsumers: String?
    @Option(Settings.userRequests) public var userRequests: String?
    @Option(Settings.userBytes) public var userBytes: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.maxRequestBytes, maxRequestBytes), (Settings.authorizedKeys, authorizedKeys), (Settings.ipcMode, ipcMode),
            (Settings.maxConnections, maxConnections), (Settings.userConnections, userConnections),
            (Settings.userSessions, userSessions), (Settings.userConsumers, userConsumers), (Settings.userRequests, userRequests),
            (Settings.userBytes, userBytes),
        ]
    }
}

public struct PusherOptions: SettingFlags {
    @Option(Settings.pusherBind) public var pusherBind: String?
    @Option(Settings.liveBind) public var liveBind: String?
    @Option(Settings.allowReliable) public var allowReliable: String?
    @Option(Settings.allowPolling) public var allowPolling: String?
    @Option(Settings.maxChunkEvents) public var maxChunkEvents: String?
    @Option(Settings.requestMax) public var requestMax: String?
    @Option(Settings.queueMax) public var queueMax: String?
    @Option(Settings.sleepMin) public var sleepMin: String?
    @Option(Settings.sleepMax) public var sleepMax: String?
    @Option(Settings.sleepStep) public var sleepStep: String?
    @Option(Settings.ackTimeout) public var ackTimeout: String?
    @Option(Settings.sessionTimeout) public var sessionTimeout: String?
    @Option(Settings.failOver) public var failOver: String?
    @Option(Settings.groupBytes) public var groupBytes: String?
    @Option(Settings.windowBytes) public var windowBytes: String?
    @Option(Settings.sendBytes) public var sendBytes: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.pusherBind, pusherBind), (Settings.liveBind, liveBind), (Settings.allowReliable, allowReliable),
            (Settings.allowPolling, allowPolling), (Settings.maxChunkEvents, maxChunkEvents),
            (Settings.requestMax, requestMax), (Settings.queueMax, queueMax), (Settings.sleepMin, sleepMin),
            (Settings.sleepMax, sleepMax), (Settings.sleepStep, sleepStep), (Settings.ackTimeout, ackTimeout),
            (Settings.sessionTimeout, sessionTimeout), (Settings.failOver, failOver),
            (Settings.groupBytes, groupBytes), (Settings.windowBytes, windowBytes),
            (Settings.sendBytes, sendBytes),
        ]
    }
}

public struct ArchiverOptions: SettingFlags {
    @Option(Settings.archiverComponent) public var archiverComponent: String?
    @Option(Settings.archiverWant) public var archiverWant: String?
    @Option(Settings.archiverBatch) public var archiverBatch: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.archiverComponent, archiverComponent), (Settings.archiverWant, archiverWant),
            (Settings.archiverBatch, archiverBatch),
        ]
    }
}

public struct DiscarderOptions: SettingFlags {
    @Option(Settings.discardPollPeriod) public var discardPollPeriod: String?
    @Option(Settings.discardLimit) public var discardLimit: String?
    @Option(Settings.discardRequire) public var discardRequire: String?
    @Option(Settings.discardWarnEvents) public var discardWarnEvents: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.discardPollPeriod, discardPollPeriod), (Settings.discardLimit, discardLimit),
            (Settings.discardRequire, discardRequire), (Settings.discardWarnEvents, discardWarnEvents),
        ]
    }
}

/// Of every process.
public struct ProcessOptions: SettingFlags {
    @Option(Settings.metricsBind) public var metricsBind: String?
    @Option(Settings.insecure) public var insecure: String?
    public init() {}
    public var values: [(Setting, String?)] { [(Settings.metricsBind, metricsBind), (Settings.insecure, insecure)] }
}

/// Where clients find the servers.
public struct ConnectOptions: SettingFlags {
    @Option(Settings.generatorConnect) public var generatorConnect: String?
    @Option(Settings.pusherConnect) public var pusherConnect: String?
    @Option(Settings.liveConnect) public var liveConnect: String?
    @Option(Settings.serverKey) public var serverKey: String?
    public init() {}
    public var values: [(Setting, String?)] {
        [
            (Settings.generatorConnect, generatorConnect), (Settings.pusherConnect, pusherConnect),
            (Settings.liveConnect, liveConnect), (Settings.serverKey, serverKey),
        ]
    }
}
