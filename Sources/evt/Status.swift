import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer

struct Status: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Shows how the stream stands: head, backlog, and how far each consumer is.",
        discussion: """
            LAG is what a consumer wants and has not confirmed; HELD, what is kept because of it, wanted or not. SEEN is how long \
            ago its position was stored or its session began or ended; SERVED, whether a pusher has a session for it, or that an operator has paused it. A consumer whose \
            next event is discarded reads from the archive: its LAG is what is in the table, and it holds nothing.
            """)

    static let settings = Settings.facts(of: .database)
    @OptionGroup var flags: SettingFlags<Self>
    @Flag(help: "Print JSON, for scripts.") var json = false
    @Flag(help: "Go on showing it, until interrupted.") var watch = false
    @Option(help: "With --watch: how often.") var interval = "2s"

    func run() async throws {
        let (json, watch, pause) = (json, watch, try duration(interval, of: "--interval"))
        OutputReader.endWhenGone()
        try await StatusReader.with(flags.read()) { read in
            while true {
                let status = try await read(nil)
                let text = json ? status.json : status.page(.standard)
                guard watch else { return print(text) }
                Terminal.replace(with: text)
                try await Task.sleep(for: pause)
            }
        }
    }
}

/// Reads the status over one connection.
enum StatusReader {
    /// - Parameter body: gets a function that reads; its argument asks for what was recorded after that event, too.
    static func with(
        _ settings: SettingsReader,
        _ body:
            nonisolated(nonsending) @Sendable (
                (EventID?) async throws -> StreamStatus
            ) async throws -> Void
    ) async throws {
        let database = try settings.database()
        try await withDatabase(database.url, .stream(database.tables)) { connection in
            let info = try await StreamInfo.load(database.tables, from: connection)
            try await body { since in try await StreamStatus.load(info, since: since, from: connection) }
        }
    }
}

/// Reads `2s`, `500ms`.
func duration(_ text: String, of flag: String) throws -> Duration {
    guard let duration = Duration(text: text), duration >= .milliseconds(100), duration <= .seconds(3600) else {
        throw ValidationError("\(flag) is a time such as 2s or 500ms, 100ms to 1h, not \(text)")
    }
    return duration
}

extension StreamStatus {
    /// For people.
    func page(_ style: Style) -> String {
        var lines = [
            row("head", style.text("\(head)", .bold), style),
            row("backlog", "\(events(backlog.events)), \(sizeText(backlog.bytes)) of data", style),
        ]
        for trouble in tableTroubles {
            lines.append(row("tables", style.text(printable(trouble.text), trouble.isGrave ? .bad : .warning), style))
            lines.append(row("", printable(trouble.advice), style))
        }
        for trouble in pusherTroubles { lines.append(row("pusher", style.text(trouble, .bad), style)) }
        for writer in writers {
            lines.append(
                row(
                    "waiting",
                    style.text("for \(printable("\(writer)")): events recorded after its own wait until it ends", .bad), style))
            lines.append(row("", printable(writer.advice), style))
        }
        for lock in locks {
            lines.append(row("locked", style.text(printable("\(lock)"), .bad), style))
            lines.append(row("", printable(lock.advice), style))
        }
        for lock in roleLocks {
            lines.append(row("locked", style.text(printable("\(lock)"), .bad), style))
            lines.append(row("", printable(lock.advice), style))
        }
        if let slowest {
            lines.append(
                row(
                    "held",
                    "by \(slowest.consumer): \(events(slowest.held.events)), \(sizeText(slowest.held.bytes)) of data, "
                        + "the oldest waiting since \(slowest.held.since)", style))
        }
        if let maxLag {
            lines.append(row("max lag", "\(lagText(maxLag)): a consumer further behind does not hold all its events back", style))
        }
        if let refusal { lines.append(row("kept", style.text(printable(refusal), .bad), style)) }
        if let generationReason {
            lines.append(
                row(
                    "began",
                    "anew \(generationSince), because the database went back, or may have: \(generationReason)", style))
        }
        lines.append("")
        lines.append(consumers.isEmpty ? "no consumers are registered: nothing is discarded" : consumers.table(style))
        for consumer in consumers where consumer.readsArchive {
            lines.append(style.text("\(consumer.consumer) \(archiveText(of: consumer))", hasArchiveReader ? .warning : .bad))
        }
        for consumer in Set(consumers.filter { $0.barrier != nil }.map(\.whole)).sorted() {
            lines.append(
                style.text(
                    "\(consumer) is being cut into other slices; if no command does so, `evt consumers reslice \(consumer)` goes on with it, or ends it with --cancel",
                    .warning))
        }
        for consumer in consumers {
            if let failing = consumer.failing {
                lines.append(
                    style.text(
                        "\(consumer.consumer): \(failing.isAlone ? "event" : "the group from event") \(failing.event) has failed \(times(failing.attempts)): \(printable(failing.error))",
                        .warning))
            }
            if consumer.parked > 0 {
                lines.append(
                    style.text(
                        "\(consumer.consumer) has \(events(consumer.parked)) parked; `evt parked list \(consumer.consumer)` lists them",
                        .warning))
            }
        }
        return lines.joined(separator: "\n")
    }

    /// Whether a pusher reads the archive for those who need it.
    var hasArchiveReader: Bool { pushers.contains { $0.isConnected && $0.readsArchive } }

    /// What is to be said of a consumer whose next event is discarded.
    func archiveText(of consumer: Consumer) -> String {
        let below = "\(consumer.archiveIDs) ids before the events of the table"
        let holding = consumer.holdsAfter == nil ? ", and holds nothing back" : ""
        return hasArchiveReader
            ? "reads from the archive, \(below)\(holding)" : "is \(below)\(holding); no pusher reads the archive"
    }

    private func times(_ count: Int) -> String { count == 1 ? "once" : "\(count) times" }

    /// Why SERVED may not mean that anything is delivered.
    var pusherTroubles: [String] {
        guard hasPusher else { return ["none is connected: nothing is delivered"] }
        return pushers.filter(\.isSilent).map {
            "no sign of life for \(timeText($0.silence ?? 0)) from the \($0.name): nothing is delivered to those it serves"
        }
    }

    private func row(_ label: String, _ text: String, _ style: Style) -> String {
        style.text(label + String(repeating: " ", count: max(0, 9 - label.count)), .dim) + text
    }

    /// For scripts; the keys are for good.
    var json: String {
        let consumers = consumers.map { consumer in
            jsonObject([
                ("consumer", jsonQuoted(consumer.consumer)), ("position", "\(consumer.position)"),
                ("lag", "\(consumer.lag.events)"), ("lag_bytes", "\(consumer.lag.bytes)"),
                ("lag_since", jsonText(consumer.lag.since)), ("lag_seconds", "\(consumer.lag.seconds)"),
                ("held", "\(consumer.held.events)"), ("held_bytes", "\(consumer.held.bytes)"),
                ("reads_archive", "\(consumer.readsArchive)"), ("archive_ids", "\(consumer.archiveIDs)"),
                ("max_lag", jsonText(consumer.maxLag?.text)),
                ("want", consumer.want.entries.map { jsonList($0.map { jsonQuoted($0) }) } ?? "null"),
                ("last_seen", jsonQuoted(consumer.lastSeen)), ("last_seen_seconds", "\(consumer.lastSeenSeconds)"),
                ("served", "\(consumer.isServed)"), ("paused", "\(consumer.isPaused)"),
                ("barrier", consumer.barrier.map { "\($0)" } ?? "null"),
                ("parked", "\(consumer.parked)"),
                ("failing_event", consumer.failing.map { "\($0.event)" } ?? "null"),
                ("failing_attempts", "\(consumer.failing?.attempts ?? 0)"),
                ("failing_error", jsonText(consumer.failing?.error)),
            ])
        }
        return jsonObject([
            ("head", "\(head)"), ("backlog", "\(backlog.events)"), ("backlog_bytes", "\(backlog.bytes)"),
            ("discarded", "\(discarded)"), ("held_by", jsonText(slowest?.consumer)), ("max_lag", jsonText(maxLag)),
            ("stream", jsonQuoted(generation.stream)),
            ("generation", jsonQuoted(generation.id)), ("generation_since", jsonQuoted(generationSince)),
            ("generation_reason", jsonText(generationReason)), ("refusal", jsonText(refusal)),
            ("consumers", jsonList(consumers)), ("pushers", jsonList(pushers.map(\.json))),
            ("waiting_for", jsonList(writers.map(\.json))),
            ("table_troubles", jsonList(tableTroubles.map { jsonQuoted($0.text) })),
            ("locks", jsonList(locks.map(\.json))),
            ("advisory_locks", jsonList(roleLocks.map(\.json))),
        ])
    }
}

extension PusherStatus {
    fileprivate var json: String {
        jsonObject([
            ("id", "\(id)"), ("connected", "\(isConnected)"), ("backend", backend.map { "\($0)" } ?? "null"),
            ("address", jsonText(address)), ("silent_seconds", silence.map { "\($0)" } ?? "null"),
        ])
    }
}

extension OpenWriter {
    fileprivate var json: String {
        jsonObject([
            ("pid", processID.map { "\($0)" } ?? "null"), ("prepared", jsonText(prepared)),
            ("application", jsonQuoted(application)), ("user", jsonQuoted(user)), ("state", jsonQuoted(state)),
            ("since", jsonQuoted(since)), ("age_seconds", "\(age)"), ("query_start", jsonQuoted(queryStart)),
            ("query", jsonQuoted(query)), ("standbys", jsonText(standbys)),
        ])
    }
}

extension LockHolder {
    fileprivate var json: String {
        jsonObject([
            ("pid", processID.map { "\($0)" } ?? "null"), ("prepared", jsonText(prepared)),
            ("application", jsonQuoted(application)), ("user", jsonQuoted(user)), ("state", jsonQuoted(state)),
            ("since", jsonQuoted(since)), ("query", jsonQuoted(query)),
        ])
    }
}

extension TableLock {
    fileprivate var json: String {
        jsonObject([
            ("tables", jsonList(tables.map { jsonQuoted($0) })), ("mode", jsonQuoted(modeText)), ("granted", "\(isGranted)"),
            ("holder", holder.json), ("blocked_by", jsonList(blockers.map(\.json))), ("waiting", "\(waiting)"),
            ("advice", jsonQuoted(advice)),
        ])
    }
}

extension RoleLock {
    fileprivate var json: String {
        jsonObject([
            ("lock", jsonQuoted(lock.rawValue)), ("shared", "\(isShared)"), ("holder", holder.json),
            ("advice", jsonQuoted(advice)),
        ])
    }
}

extension StreamStatus.Consumer {
    /// The consumer that it is a slice of, or it itself.
    fileprivate var whole: String { ConsumerIdentity(consumer)?.whole.description ?? consumer }
}

extension [StreamStatus.Consumer] {
    func table(_ style: Style) -> String {
        var table = TextTable(
            ["CONSUMER", "POSITION", "LAG", "TIME", "BYTES", "HELD", "SEEN", "SERVED"], numeric: [1, 2, 3, 4, 5, 6])
        var isFirst: Set<String> = []
        for consumer in self {
            // Slices below a line for all.
            if let slice = consumer.slice, isFirst.insert(consumer.whole).inserted {
                table.add(line(of: filter { $0.whole == consumer.whole }, "\(consumer.whole)/\(slice.count)"))
            }
            let isWaiting = consumer.lag.events > 0 && !consumer.isServed
            let look: Style.Look = isWaiting ? .warning : .plain
            let served: Style.Look = consumer.isServed ? .good : isWaiting ? .bad : .dim
            let cells: [TextTable.Cell] = [
                .init(consumer.consumer, .bold), .init("\(consumer.position)"), .init("\(consumer.lag.events)", look),
                .init(timeText(consumer.lag.seconds), look), .init("\(consumer.lag.bytes)"), .init("\(consumer.held.events)"),
                .init(timeText(consumer.lastSeenSeconds)),
                .init(consumer.isPaused ? "paused" : consumer.isServed ? "yes" : "no", consumer.isPaused ? .warning : served),
            ]
            table.add(cells)
        }
        return table.text(style)
    }

    /// All slices of a consumer in one line: the lowest position, and what lies behind the positions, together.
    private func line(of slices: [StreamStatus.Consumer], _ name: String) -> [TextTable.Cell] {
        let served = slices.filter(\.isServed).count
        return [
            .init(name, .bold), .init("\(slices.map(\.position).min() ?? .none)"),
            .init("\(slices.map(\.lag.events).reduce(0, +))"), .init(timeText(slices.map(\.lag.seconds).max() ?? 0)),
            .init("\(slices.map(\.lag.bytes).reduce(0, +))"), .init("\(slices.map(\.held.events).max() ?? 0)"),
            .init(timeText(slices.map(\.lastSeenSeconds).min() ?? 0)),
            .init("\(served) of \(slices.count)", served == slices.count ? .good : .warning),
        ]
    }
}
