package import EventStream
package import EventStreamDatabase
package import Logging

/// Every setting, each declared once.
///
/// Flags, the environment, range checks, the defaults of the configurations, `etc/docs/settings.md` and `etc/evt.env.example`
/// (`evt docs`) follow from these declarations, in this order.
package struct Settings: Sendable {
    package static let all = Settings()
    package static let facts = Mirror(reflecting: all).children.compactMap { ($0.value as? any SettingDeclaration)?.facts }

    package static func facts(of groups: SettingGroup...) -> [SettingFacts] {
        groups.flatMap { group in facts.filter { $0.group == group } }
    }

    // MARK: Every program

    package let envFile = Setting(
        "EVT_ENV_FILE", .text, default: nil, .common, "a file of NAME=value lines, read after flags and environment")
    package let logLevel = Setting(
        "EVT_LOG_LEVEL", .logLevel, default: .info, .common, "the least severe messages that are logged")
    package let logFormat = Setting("EVT_LOG_FORMAT", .choice, default: LogFormat.text, .common, "how messages are logged")

    // MARK: Metrics and safety

    package let metricsBind = Setting(
        "EVT_METRICS_BIND", .text, default: nil, .process,
        "host:port where the process serves /metrics, /livez and /readyz; unless set, "
            + Role.allCases.map { "\($0.standardMetricsBind) for the \($0)" }.joined(separator: ", ") + "; empty turns it off")
    package let insecure = Setting(
        "EVT_INSECURE", .bool, default: false, .process, "allow endpoints that other machines can reach, without keys")

    // MARK: Active database

    package let databaseURL = Setting(
        "EVT_DATABASE_URL", .text, default: nil, .database,
        "the active database: libpq URI or key=value string; put passwords in the environment, a file or ~/.pgpass")
    package let databaseURLFile = Setting(
        "EVT_DATABASE_URL_FILE", .text, default: nil, .database,
        "a file that holds EVT_DATABASE_URL, on one line; read again for each new connection")
    package let eventTable = Setting(
        "EVT_EVENT_TABLE", .table, default: StreamTables.standard.events, .database, "the event table, possibly schema.table")
    package let consumerTable = Setting(
        "EVT_CONSUMER_TABLE", .table, default: StreamTables.standard.consumers, .database,
        "the table of consumers, possibly schema.table")

    // MARK: Warehouse

    package let archiveURL = Setting(
        "EVT_ARCHIVE_URL", .text, default: nil, .archive, "the warehouse database: libpq URI or key=value string")
    package let archiveURLFile = Setting(
        "EVT_ARCHIVE_URL_FILE", .text, default: nil, .archive,
        "a file that holds EVT_ARCHIVE_URL, on one line; read again for each new connection")
    package let historyTable = Setting(
        "EVT_HISTORY_TABLE", .table, default: ArchiveTables.standard.history, .archive,
        "the history table of the warehouse, possibly schema.table")

    // MARK: Generator

    package let generatorBind = Setting(
        "EVT_GENERATOR_BIND", .endpoints(binding: true), default: Endpoints(StandardEndpoint.generator), .generator,
        "where the generator listens; several endpoints separated by commas; empty turns it off")

    // MARK: Pusher

    package let pusherBind = Setting(
        "EVT_PUSHER_BIND", .endpoints(binding: true), default: Endpoints(StandardEndpoint.pusher), .pusher,
        "where the pusher listens for receivers and pollers; empty turns it off")
    package let liveBind = Setting(
        "EVT_LIVE_BIND", .endpoints(binding: true), default: Endpoints(StandardEndpoint.live), .pusher,
        "where the pusher broadcasts to plain subscribers; empty turns it off")
    package let allowReliable = Setting("EVT_ALLOW_RELIABLE", .bool, default: true, .pusher, "whether consumers may register")
    package let allowPolling = Setting("EVT_ALLOW_POLLING", .bool, default: true, .pusher, "whether pollEvents may be called")
    package let maxChunkEvents = Setting(
        "EVT_MAX_CHUNK_EVENTS", .integer(1...1000, "events"), default: 100, .pusher,
        "the largest number of events in one answer to pollEvents")
    package let requestMax = Setting(
        "EVT_REQUEST_MAX", .integer(1...1000, "groups"), default: 4, .pusher,
        "the largest number of groups in flight to one receiver")
    package let queueMax = Setting(
        "EVT_QUEUE_MAX", .integer(1...1_000_000, "events"), default: 10_000, .pusher,
        "events that may wait for one live receiver before the oldest events are dropped")
    package let sleepMin = Setting(
        "EVT_SLEEP_MIN", .duration(.microseconds(50) ... .seconds(60)), default: .microseconds(250), .pusher,
        "the first pause before the pusher reads again, while transactions are open and a read finds no new events")
    package let sleepMax = Setting(
        "EVT_SLEEP_MAX", .duration(.milliseconds(1) ... .seconds(600)), default: .seconds(3), .pusher,
        "the interval of the safety poll while no events are recorded")
    package let sleepStep = Setting(
        "EVT_SLEEP_STEP", SettingKind.duration(.zero ... .seconds(600)).orNone(), default: nil, .pusher,
        "how much longer each pause is than the pause before; unset, each pause is twice as long")
    package let headShare = Setting(
        "EVT_HEAD_SHARE", .integer(1...100, "percent"), default: 20, .pusher,
        "how much of one processor reading new events may take while all processors are busy; 100 for no limit")
    package let replayShare = Setting(
        "EVT_REPLAY_SHARE", .integer(1...100, "percent"), default: 50, .pusher,
        "how much of its time the pusher gives to consumers that read from the archive; 100 for no limit")
    package let ackTimeout = Setting(
        "EVT_ACK_TIMEOUT", .duration(.milliseconds(100) ... .seconds(3600)),
        default: .seconds(30), .pusher,
        "how long a receiver may take to answer a group before the group is sent again")
    package let maxAttempts = Setting(
        "EVT_MAX_ATTEMPTS", .integer(0...1_000_000, "failures"), default: 0, .pusher,
        "how often an event may fail before the pusher parks the event and delivers what follows; 0 for never")
    package let park = Setting(
        "EVT_PARK", .choice, default: Parking.key, .pusher,
        "which events are parked: key parks the event that failed, and later events with the same key, so that each key keeps its order; "
            + "event parks only the event that failed")
    package let parkMax = Setting(
        "EVT_PARK_MAX", .integer(1...10_000_000, "events"), default: 10_000, .pusher,
        "the largest number of parked events of one consumer; beyond it the consumer stands still")
    package let sessionTimeout = Setting(
        "EVT_SESSION_TIMEOUT", .duration(.milliseconds(500) ... .seconds(3600)), default: standardSessionTimeout, .pusher,
        readBy: [.pusher, .archiver, .relay, .evt], "how long a receiver may be silent before the receiver loses its session")
    package let failOver = Setting(
        "EVT_FAILOVER", .choice, default: FailOver.automatic, .pusher,
        "what a new timeline of the active database means: automatic begins a new generation of the stream, manual waits for "
            + "`evt generation --renew` or `--fork`")
    package let groupBytes = Setting(
        "EVT_GROUP_BYTES", .integer(1024...MessageLimit.events, "bytes"), default: 512 << 10, .pusher,
        "the largest size of one group; a larger event is sent alone")
    package let windowBytes = Setting(
        "EVT_WINDOW_BYTES", .integer(1 << 20...16 << 30, "bytes"), default: 32 << 20, .pusher,
        "size of the newest events that the pusher keeps in memory")
    package let sendBytes = Setting(
        "EVT_SEND_BYTES", .integer(1 << 20...16 << 30, "bytes"), default: 16 << 20, .pusher,
        "size of the messages that may wait to be sent to receivers; the live broadcast may queue as much again")

    // MARK: Archiver

    package let archiverComponent = Setting(
        "EVT_ARCHIVER_COMPONENT", .consumer, default: ConsumerIdentity(component: .archiver), .archiver,
        readBy: [.archiver, .evt],
        "the archiver's name as a consumer; with keys user:component, with the user's name in the pusher's authorized keys")
    package let archiverWant = Setting(
        "EVT_ARCHIVER_WANT", .eventTypes, default: .all, .archiver,
        "event types and prefixes (`ORDER_*`) to archive, separated by commas; all unless set")
    package let archiverBatch = Setting(
        "EVT_ARCHIVER_BATCH", .integer(1...1_000_000, "events"), default: 10_000, .archiver,
        "the largest number of events in one transaction in the warehouse; waiting groups are merged up to this number")

    // MARK: Discarder

    package let discardPollPeriod = Setting(
        "EVT_DISCARD_POLL_PERIOD", .duration(.milliseconds(100) ... .seconds(7 * 86_400)), default: .seconds(600), .discarder,
        readBy: [.discarder, .evt], "how often single events are deleted; a complete segment is emptied sooner")
    package let discardLimit = Setting(
        "EVT_DISCARD_LIMIT", .integer(1...1_000_000, "events"), default: 1000, .discarder, readBy: [.discarder, .evt],
        "the largest number of events that one transaction deletes")
    package let discardRequire = Setting(
        "EVT_DISCARD_REQUIRE", .text, default: nil, .discarder, readBy: [.discarder, .evt],
        "archivers, separated by commas, whose warehouse must hold an event, by count and checksum, before the event is "
            + "discarded: COMPONENT, COMPONENT=table for another history table, COMPONENT@service for another warehouse, by its "
            + "name in pg_service.conf; none unless set")
    package let discardMaxLag = Setting(
        "EVT_DISCARD_MAX_LAG", SettingKind.maxLag.orNone(), default: nil, .discarder, readBy: [.discarder, .evt],
        "how far behind a consumer may be and still hold all events that it has not confirmed: a number of events, or a duration; "
            + "older events are discarded nevertheless, and the pusher reads them from the archive for the consumer; unset, each "
            + "consumer holds its events for ever. Only together with EVT_DISCARD_REQUIRE")
    package let discardWarnEvents = Setting(
        "EVT_DISCARD_WARN_EVENTS", .integer(1...1_000_000_000_000, "events"), default: 1_000_000, .discarder,
        readBy: [.discarder, .evt], "how many events a consumer may hold back before a warning names the consumer")
    package let idempotencyWindow = Setting(
        "EVT_IDEMPOTENCY_WINDOW", .duration(.seconds(1) ... .seconds(366 * 86_400)), default: .seconds(86_400), .discarder,
        readBy: [.discarder, .evt],
        "for how long a repeated idempotency key is known at least; keys are removed after twice as long at the latest, while a "
            + "discarder is at work")

    // MARK: Relay

    package let relayTo = Setting(
        "EVT_RELAY_TO", .text, default: nil, .relay,
        "the endpoint that events are sent to, https://…; http://… only to a loopback address, or with EVT_INSECURE")
    package let relayComponent = Setting(
        "EVT_RELAY_COMPONENT", .consumer, default: ConsumerIdentity(component: .relay), .relay,
        "the relay's name as a consumer; with keys user:component, with the user's name in the pusher's authorized keys")
    package let relayWant = Setting(
        "EVT_RELAY_WANT", .eventTypes, default: .all, .relay, "event types to send, separated by commas; all unless set")
    package let relayFormat = Setting(
        "EVT_RELAY_FORMAT", .choice, default: RelayFormat.structured, .relay,
        "how CloudEvents are sent: structured, an event in JSON; binary, the data alone, and the rest in headers; batch, several events "
            + "in JSON")
    package let relayConcurrency = Setting(
        "EVT_RELAY_CONCURRENCY", .integer(1...1000, "requests"), default: 8, .relay,
        "requests under way at most; of the events with one key, and of those without a key, one request at most")
    package let relayTimeout = Setting(
        "EVT_RELAY_TIMEOUT", .duration(.milliseconds(100) ... .seconds(600)), default: .seconds(15), .relay,
        "how long the endpoint may take to answer a request")
    package let relaySecret = Setting(
        "EVT_RELAY_SECRET", .text, default: nil, .relay,
        "what requests are signed with: whsec_ and a key in base64; several, separated by commas, while the secret is changed; not signed "
            + "unless set")
    package let relaySecretFile = Setting(
        "EVT_RELAY_SECRET_FILE", .text, default: nil, .relay,
        "a file that holds EVT_RELAY_SECRET, on one line; read again for each request")
    package let relayAllowPrivate = Setting(
        "EVT_RELAY_ALLOW_PRIVATE", .bool, default: false, .relay,
        "whether the endpoint may have an address that is none of the public internet: private, loopback or link-local")
    package let relaySlices = Setting(
        "EVT_RELAY_SLICES", SettingKind.integer(EventSlice.counts, "slices").orNone(), default: nil, .relay,
        "into how many slices the consumer is cut, so that several relays share the work; none unless set")
    package let relaySlicesMax = Setting(
        "EVT_RELAY_SLICES_MAX", SettingKind.integer(1...256, "slices").orNone(), default: nil, .relay,
        "how many slices the relay takes at most; unset, all that are free")

    // MARK: Keys

    package let curveKey = Setting(
        "EVT_CURVE_KEY", .text, default: nil, .keys,
        "the file of the program's own secret certificate, made by `evt keygen`: sockets are encrypted, and peers are "
            + "authenticated")
    package let authorizedKeys = Setting(
        "EVT_AUTHORIZED_KEYS", .text, default: nil, .sockets,
        "for servers with EVT_CURVE_KEY: the file that says which keys may connect, and what each may do; read again at SIGHUP")
    package let serverKey = Setting(
        "EVT_SERVER_KEY", .text, default: nil, .connect,
        "for clients with EVT_CURVE_KEY: the public key of the servers, 40 characters of Z85 or the file of the certificate")

    // MARK: Sockets and limits

    package let maxRequestBytes = Setting(
        "EVT_MAX_REQUEST_BYTES", .integer(1024...64 << 20, "bytes"), default: 65_536, .sockets, "the largest size of a request")
    package let ipcMode = Setting("EVT_IPC_MODE", .mode, default: 0o600, .sockets, "the permissions of ipc:// sockets")
    package let maxConnections = Setting(
        "EVT_MAX_CONNECTIONS", .integer(1...1_000_000, "connections"), default: 10_000, .sockets,
        "connections of one socket; beyond this limit, or beyond 1000 that have sent nothing yet, the oldest connections that have "
            + "sent nothing are closed")
    package let userConnections = Setting(
        "EVT_USER_CONNECTIONS", .integer(1...1_000_000, "connections"), default: 250, .sockets,
        "connections of one user to one socket")
    package let userSessions = Setting(
        "EVT_USER_SESSIONS", .integer(1...1_000_000, "sessions"), default: 250, .sockets,
        "sessions of one user at one pusher; without keys, of one connection")
    package let userConsumers = Setting(
        "EVT_USER_CONSUMERS", .integer(1...1_000_000, "consumers"), default: 1000, .sockets,
        "consumers that one user may register by calls; without keys, all users together")
    package let userRequests = Setting(
        "EVT_USER_REQUESTS", .integer(1...100_000_000, "requests a second"), default: 100_000, .sockets,
        "requests of one user; without keys, of one connection")
    package let userBytes = Setting(
        "EVT_USER_BYTES", .integer(65_536...16 << 30, "bytes"), default: 4 << 20, .sockets,
        "size of the messages that may wait to be sent to one user; without keys, over one connection")

    // MARK: Clients

    package let generatorConnect = Setting(
        "EVT_GENERATOR_CONNECT", .endpoints(binding: false), default: Endpoints(StandardEndpoint.generator), .connect,
        readBy: [.evt], "where clients find the generator")
    package let pusherConnect = Setting(
        "EVT_PUSHER_CONNECT", .endpoints(binding: false), default: Endpoints(StandardEndpoint.pusher), .connect,
        "where clients, the archiver and the relay find the pusher; of several endpoints, the next is tried when a connection is lost"
    )
    package let liveConnect = Setting(
        "EVT_LIVE_CONNECT", .endpoints(binding: false), default: Endpoints(StandardEndpoint.live), .connect, readBy: [.evt],
        "where clients find the live broadcast")

    // MARK: Doctor

    package let metricsConnect = Setting(
        "EVT_METRICS_CONNECT", .metricsEndpoints, default: Role.pipeline.map(\.standardMetricsBind), .doctor,
        "where `evt doctor` finds the metrics of the processes, separated by commas; empty asks none")

    // MARK: Inbox

    package let inboxURL = Setting(
        "EVT_INBOX_URL", .text, default: nil, .inbox, flag: "url",
        "the database in which a receiver does its work, for `evt inbox`: libpq URI or key=value string")
}

package enum LogFormat: String, CaseIterable, Sendable { case text, json }

protocol SettingDeclaration { var facts: SettingFacts { get } }
extension Setting: SettingDeclaration {}
