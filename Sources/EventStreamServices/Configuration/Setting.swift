/// One thing that can be set: by a flag, an environment variable or a line in a file, in this order.
public struct Setting: Sendable, Hashable {
    /// The environment variable, and the key in a file.
    public let name: String
    /// What it is unless set; nil where it must be set or is simply absent.
    public let standard: String?
    /// What it means, with unit and range.
    public let meaning: String

    /// The flag: `EVT_ACK_TIMEOUT` is `--ack-timeout`.
    public var flag: String {
        name.dropFirst("EVT_".count).lowercased().split(separator: "_").joined(separator: "-")
    }
}

/// Every setting there is.
public enum Settings {
    public static let databaseURL = Setting(
        name: "EVT_DATABASE_URL", standard: nil,
        meaning: "the active database: libpq URI or key=value string; put passwords in the environment, a file or ~/.pgpass")
    public static let archiveURL = Setting(
        name: "EVT_ARCHIVE_URL", standard: nil, meaning: "the warehouse database: libpq URI or key=value string")
    public static let databaseURLFile = Setting(
        name: "EVT_DATABASE_URL_FILE", standard: nil, meaning: "instead of EVT_DATABASE_URL, a file that holds it, on one line")
    public static let archiveURLFile = Setting(
        name: "EVT_ARCHIVE_URL_FILE", standard: nil, meaning: "instead of EVT_ARCHIVE_URL, a file that holds it, on one line")
    public static let generatorBind = Setting(
        name: "EVT_GENERATOR_BIND", standard: "tcp://127.0.0.1:5570",
        meaning: "where the generator listens; several endpoints separated by commas; empty turns it off")
    public static let pusherBind = Setting(
        name: "EVT_PUSHER_BIND", standard: "tcp://127.0.0.1:5571",
        meaning: "where the pusher listens for receivers and pollers; empty turns it off")
    public static let liveBind = Setting(
        name: "EVT_LIVE_BIND", standard: "tcp://127.0.0.1:5572",
        meaning: "where the pusher broadcasts to plain subscribers; empty turns it off")
    public static let generatorConnect = Setting(
        name: "EVT_GENERATOR_CONNECT", standard: "tcp://127.0.0.1:5570", meaning: "where clients find the generator")
    public static let pusherConnect = Setting(
        name: "EVT_PUSHER_CONNECT", standard: "tcp://127.0.0.1:5571",
        meaning: "where clients and the archiver find the pusher; of several, the next one is tried when one is lost")
    public static let liveConnect = Setting(
        name: "EVT_LIVE_CONNECT", standard: "tcp://127.0.0.1:5572", meaning: "where clients find the live broadcast")
    public static let eventTable = Setting(
        name: "EVT_EVENT_TABLE", standard: "evt_queue", meaning: "the event table, possibly schema.table")
    public static let consumerTable = Setting(
        name: "EVT_CONSUMER_TABLE", standard: "evt_consumers", meaning: "the table of consumers, possibly schema.table")
    public static let historyTable = Setting(
        name: "EVT_HISTORY_TABLE", standard: "evt_history", meaning: "the warehouse's table, possibly schema.table")
    public static let allowReliable = Setting(
        name: "EVT_ALLOW_RELIABLE", standard: "true", meaning: "whether consumers may register: true or false")
    public static let allowPolling = Setting(
        name: "EVT_ALLOW_POLLING", standard: "true", meaning: "whether pollEvents may be called: true or false")
    public static let maxChunkEvents = Setting(
        name: "EVT_MAX_CHUNK_EVENTS", standard: "100", meaning: "events in an answer to pollEvents at most: 1 to 1000")
    public static let requestMax = Setting(
        name: "EVT_REQUEST_MAX", standard: "4", meaning: "groups in flight to one receiver: 1 to 1000")
    public static let queueMax = Setting(
        name: "EVT_QUEUE_MAX", standard: "10000",
        meaning: "events that may wait for a live receiver before the oldest are dropped: 1 to 1000000")
    public static let sleepMin = Setting(
        name: "EVT_SLEEP_MIN", standard: "250us",
        meaning: "the pusher's first pause when it has read everything and writers are in flight: 50us to 1m")
    public static let sleepMax = Setting(
        name: "EVT_SLEEP_MAX", standard: "3s", meaning: "the safety poll while nothing happens: 1ms to 10m")
    public static let sleepStep = Setting(
        name: "EVT_SLEEP_STEP", standard: nil, meaning: "how much longer each pause is; doubling unless set")
    public static let ackTimeout = Setting(
        name: "EVT_ACK_TIMEOUT", standard: "30s", meaning: "a group not answered for so long is sent again: 100ms to 1h")
    public static let sessionTimeout = Setting(
        name: "EVT_SESSION_TIMEOUT", standard: "15s",
        meaning: "a receiver not heard of for so long loses its session: 500ms to 1h")
    public static let failOver = Setting(
        name: "EVT_FAILOVER", standard: "automatic",
        meaning: "where the timeline of the active database has changed: automatic begins a new generation of the stream, manual "
            + "waits for `evt generation --renew` or `--fork`")
    public static let maxRequestBytes = Setting(
        name: "EVT_MAX_REQUEST_BYTES", standard: "65536", meaning: "bytes a request may have: 1024 to 67108864")
    public static let discardPollPeriod = Setting(
        name: "EVT_DISCARD_POLL_PERIOD", standard: "600s",
        meaning: "how often single events are deleted; a segment that is complete goes sooner: 100ms to 7d")
    public static let discardLimit = Setting(
        name: "EVT_DISCARD_LIMIT", standard: "1000", meaning: "events one transaction deletes at most: 1 to 1000000")
    public static let discardRequire = Setting(
        name: "EVT_DISCARD_REQUIRE", standard: nil,
        meaning: "archivers whose warehouse must hold events, by count and checksum, before these are discarded: COMPONENT, "
            + "separated by commas; COMPONENT=table for another history table, COMPONENT@service for another warehouse, by its "
            + "name in pg_service.conf")
    public static let discardWarnEvents = Setting(
        name: "EVT_DISCARD_WARN_EVENTS", standard: "1000000",
        meaning: "a consumer that holds back more events is named in a warning: 1 to 1000000000000")
    public static let archiverBatch = Setting(
        name: "EVT_ARCHIVER_BATCH", standard: "10000",
        meaning: "events one transaction in the warehouse has at most; groups that wait are merged up to this: 1 to 1000000")
    public static let archiverComponent = Setting(
        name: "EVT_ARCHIVER_COMPONENT", standard: "ARCHIVER",
        meaning: "the archiver's name as a consumer; with keys user:component, as the pusher's authorized keys call it")
    public static let archiverWant = Setting(
        name: "EVT_ARCHIVER_WANT", standard: nil, meaning: "event types to archive, separated by commas; all unless set")
    public static let windowBytes = Setting(
        name: "EVT_WINDOW_BYTES", standard: "33554432",
        meaning: "bytes of recent events the pusher keeps in memory: 1048576 to 17179869184")
    public static let sendBytes = Setting(
        name: "EVT_SEND_BYTES", standard: "16777216",
        meaning: "bytes that may wait to be sent to receivers; as many for the live broadcast: 1048576 to 17179869184")
    public static let groupBytes = Setting(
        name: "EVT_GROUP_BYTES", standard: "524288",
        meaning: "bytes one group has at most, a single larger event aside: 1024 to 8380416")
    public static let curveKey = Setting(
        name: "EVT_CURVE_KEY", standard: nil,
        meaning: "the file of one's own secret certificate, as `evt keygen` makes it: sockets are encrypted, and peers prove who "
            + "they are")
    public static let authorizedKeys = Setting(
        name: "EVT_AUTHORIZED_KEYS", standard: nil,
        meaning: "for servers with EVT_CURVE_KEY: the file that says who may connect, and do what; SIGHUP reads it again")
    public static let serverKey = Setting(
        name: "EVT_SERVER_KEY", standard: nil,
        meaning: "for clients with EVT_CURVE_KEY: the servers' public key, 40 characters of Z85 or the file of its certificate")
    public static let ipcMode = Setting(
        name: "EVT_IPC_MODE", standard: "600", meaning: "the permissions of ipc:// sockets, in octal: 0 to 777")
    public static let maxConnections = Setting(
        name: "EVT_MAX_CONNECTIONS", standard: "10000",
        meaning:
            "connections of one socket; past it, and past 1000 that have said nothing yet, the oldest of those are cut: 1 to 1000000"
    )
    public static let userConnections = Setting(
        name: "EVT_USER_CONNECTIONS", standard: "250", meaning: "connections of one user to one socket: 1 to 1000000")
    public static let userSessions = Setting(
        name: "EVT_USER_SESSIONS", standard: "250",
        meaning: "sessions of one user at one pusher, without keys of one connection: 1 to 1000000")
    public static let userConsumers = Setting(
        name: "EVT_USER_CONSUMERS", standard: "1000",
        meaning: "consumers one user may register by calls, without keys all together: 1 to 1000000")
    public static let userRequests = Setting(
        name: "EVT_USER_REQUESTS", standard: "100000",
        meaning: "requests of one user a second, without keys of one connection: 1 to 100000000")
    public static let userBytes = Setting(
        name: "EVT_USER_BYTES", standard: "4194304",
        meaning: "bytes that may wait to be sent to one user, without keys over one connection: 65536 to 17179869184")
    public static let insecure = Setting(
        name: "EVT_INSECURE", standard: "false", meaning: "allow endpoints other machines can reach, without keys: true or false")
    public static let metricsBind = Setting(
        name: "EVT_METRICS_BIND", standard: nil,
        meaning: "host:port for /metrics, /livez and /readyz: 127.0.0.1:9570 for the generator unless set, :9571 for the pusher, "
            + ":9572 for the archiver, :9573 for the discarder; empty turns it off")
    public static let metricsConnect = Setting(
        name: "EVT_METRICS_CONNECT", standard: "127.0.0.1:9570,127.0.0.1:9571,127.0.0.1:9572,127.0.0.1:9573",
        meaning: "where `evt doctor` finds these of the processes, separated by commas; empty asks none")
    public static let logLevel = Setting(
        name: "EVT_LOG_LEVEL", standard: "info", meaning: "trace, debug, info, notice, warning, error or critical")
    public static let logFormat = Setting(name: "EVT_LOG_FORMAT", standard: "text", meaning: "text or json")

    public static let all = [
        databaseURL, databaseURLFile, archiveURL, archiveURLFile, generatorBind, pusherBind, liveBind, generatorConnect,
        pusherConnect, liveConnect,
        eventTable, consumerTable, historyTable, allowReliable, allowPolling, maxChunkEvents, requestMax, queueMax,
        sleepMin, sleepMax, sleepStep, ackTimeout, sessionTimeout, failOver, maxRequestBytes, groupBytes, windowBytes, sendBytes,
        discardPollPeriod, discardLimit, discardRequire, discardWarnEvents, archiverComponent, archiverWant, archiverBatch,
        curveKey, authorizedKeys, serverKey, ipcMode, maxConnections, userConnections, userSessions, userConsumers, userRequests,
        userBytes,
        metricsBind, metricsConnect, insecure, logLevel, logFormat,
    ]
}
