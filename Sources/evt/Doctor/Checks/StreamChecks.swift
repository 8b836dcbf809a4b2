import EventStream
import EventStreamDatabase

/// What two looks at a stream, some seconds apart, mean. Pure: facts in, findings out.
struct StreamChecks {
    let status: StreamStatus
    let facts: StreamFacts
    let earlier: StreamStatus
    /// The archivers, as far as they are known.
    let archivers: Set<String>
    /// Those of EVT_DISCARD_REQUIRE.
    let required: Set<String>
    /// A consumer that holds back more is a grave matter.
    let warnEvents: Int

    var findings: [Finding] {
        [schema] + tables + [sequence, triggers, generation].compactMap { $0 } + writers + pushers + consumers
            + [intervals, discarder, refusal, bloat].compactMap { $0 } + missingArchivers
            + SnapshotChecks(tables: facts.hotTables, holders: facts.snapshots).findings
    }

    /// Each is judged by its own interval; but whoever sets different ones means one of them only.
    private var intervals: Finding? {
        let intervals = Set(status.pushers.filter(\.isConnected).map(\.interval)).sorted()
        guard let least = intervals.first, let most = intervals.last, least < most else { return nil }
        return Finding(
            .warning, "pushers",
            "pushers give signs of life every \(timeText(least)) and every \(timeText(most)): EVT_SESSION_TIMEOUT differs, and how "
                + "soon a consumer is taken over depends on who served it",
            advice: "set EVT_SESSION_TIMEOUT alike for all pushers of the stream, and start them again")
    }

    private var schema: Finding {
        Finding(
            .fine, "stream",
            "head \(status.head), \(events(status.backlog.events)) in the table, \(sizeText(status.backlog.bytes)) of data")
    }

    private var tables: [Finding] {
        status.tableTroubles.map { Finding($0.isGrave ? .critical : .warning, "tables", $0.text, advice: $0.advice) }
    }

    private var sequence: Finding? {
        if facts.sequenceCache != 1 || facts.sequenceCycles {
            return Finding(
                .critical, "sequence",
                "the sequence of ids has CACHE \(facts.sequenceCache)\(facts.sequenceCycles ? " and CYCLE" : ""): ids come out of "
                    + "order, and the stream waits or is wrong",
                advice: "ALTER SEQUENCE … CACHE 1 NO CYCLE, on the sequence of the event table")
        }
        guard let drawn = facts.drawn, drawn < status.head else { return nil }
        return Finding(
            .critical, "sequence", "it stands at \(drawn), but there is an event \(status.head): it was set back",
            advice: "the pusher sets it right when it runs; or setval it to \(status.head)")
    }

    private var triggers: Finding? {
        guard let first = facts.idleTriggers.first else { return nil }
        let list = facts.idleTriggers.map { "\($0.name) of \($0.table) is \($0.state)" }.joined(separator: ", ")
        return Finding(
            .critical, "triggers",
            "\(list). Without wake events wait for the safety poll, and their commits may be lost; without registering events may be "
                + "discarded behind a new consumer's back; and with session_replication_role = replica only a trigger that is "
                + "ENABLE ALWAYS fires",
            advice: "ALTER TABLE \(first.table) ENABLE ALWAYS TRIGGER \(first.name); one that is gone is in `evt migrate --print`"
        )
    }

    private var generation: Finding? {
        guard let reason = status.generationReason else { return nil }
        return Finding(.note, "generation", "the stream began anew \(status.generationSince): \(reason)")
    }

    private var writers: [Finding] {
        status.writers.map { writer in
            let who = writer.prepared.map { "prepared transaction '\($0)'" } ?? "pid \(writer.processID ?? 0)"
            if let standbys = writer.standbys {
                return Finding(
                    writer.age > 15 ? .critical : .warning, "transaction",
                    "\(who) (\(writer.application.isEmpty ? "no application name" : writer.application), user \(writer.user)) has "
                        + "recorded events, and its commit has been waiting for a synchronous standby for "
                        + "\(timeText(writer.age)): \(standbys)", advice: writer.advice)
            }
            let query = writer.query.isEmpty ? "" : ", last query: \(writer.query)"
            return Finding(
                writer.age > 15 ? .critical : .warning, "transaction",
                "\(who) (\(writer.application.isEmpty ? "no application name" : writer.application), user \(writer.user), "
                    + "\(writer.state)) has recorded events and is open for \(timeText(writer.age)): events recorded after its own "
                    + "wait until it ends\(query)",
                advice: writer.advice)
        }
    }

    private var pushers: [Finding] {
        guard status.hasPusher else {
            return [
                Finding(
                    .critical, "pusher", "no pusher is connected to the database: nothing is delivered",
                    advice: "start evt-pusher; if it runs, its log says why it cannot connect")
            ]
        }
        return status.pushers.filter(\.isConnected).map { pusher in
            guard isSilent(pusher) else { return Finding(.fine, "pusher", "the \(pusher.name) gives signs of life") }
            return Finding(
                .critical, "pusher",
                "the \(pusher.name) is connected and gives no sign of life: it is frozen, or cannot write to the database",
                advice:
                    "look at its process (SIGSTOP, swapping, a debugger?) and its log; kill -9 and start it again: nothing is lost, "
                    + "and another pusher takes its consumers over")
        }
    }

    private func isSilent(_ pusher: PusherStatus) -> Bool {
        earlier.pushers.contains { $0.id == pusher.id && $0.beat == pusher.beat } && pusher.hasMissedABeat
    }

    private var consumers: [Finding] {
        guard status.hasPusher, !status.pushers.contains(where: { $0.isConnected && isSilent($0) }) else {
            return [Finding(.note, "consumers", "not judged: they can do nothing without a pusher that works")]
        }
        guard !status.consumers.isEmpty else {
            return [
                Finding(
                    .note, "consumers", "none is registered: nothing is discarded",
                    advice: "evt consumers register NAME, for each that relies on the stream")
            ]
        }
        let before = Dictionary(earlier.consumers.map { ($0.consumer, $0) }, uniquingKeysWith: { $1 })
        let found = status.consumers.compactMap { check($0, before: before[$0.consumer]) } + failures
        return found.isEmpty ? [Finding(.fine, "consumers", "all \(status.consumers.count) are served, or lack nothing")] : found
    }

    private var failures: [Finding] {
        status.consumers.filter { $0.parked > 0 }.map {
            Finding(
                .warning, "parked", "\(events($0.parked)) of \($0.consumer) are parked: its receiver could not process them",
                advice: "evt parked list \($0.consumer); when the receiver is corrected evt parked retry \($0.consumer) --all")
        }
            + status.consumers.compactMap { consumer in
                // One failure may pass.
                consumer.failing.flatMap { $0.attempts > 1 ? $0 : nil }.map {
                    Finding(
                        .warning, "consumer",
                        "\(consumer.consumer) stands at \($0.isAlone ? "event" : "the group from event") \($0.event), which has failed \($0.attempts) times: \($0.error)",
                        advice: "correct its receiver; EVT_MAX_ATTEMPTS sets such events aside")
                }
            }
    }

    /// How long what a consumer lacks may be on its way.
    private static let graceSeconds = 5.0

    private func check(_ consumer: StreamStatus.Consumer, before: StreamStatus.Consumer?) -> Finding? {
        let isArchiver = archivers.contains(consumer.consumer) || consumer.verified > .none
        let moves = before.map { $0.position != consumer.position } ?? true
        if consumer.readsArchive { return archiveReader(consumer, moves: moves) }
        let holds = "it holds back \(events(consumer.held.events)), \(sizeText(consumer.held.bytes))"
        let waits = "\(events(consumer.lag.events)) wait for it, the oldest for \(timeText(consumer.lag.seconds))"
        if let barrier = consumer.barrier, !moves {
            return Finding(
                .warning, "consumer",
                "\(consumer.consumer) is being cut into other slices, and stands still: nothing beyond event \(barrier) is delivered",
                advice: "if no evt consumers reslice is at work, run it again, or with --cancel")
        }
        if consumer.lag.events == 0 {
            guard !consumer.isServed, consumer.held.events > warnEvents else { return nil }
            return Finding(
                .warning, isArchiver ? "archiver" : "consumer",
                "\(consumer.consumer) is not served, and \(holds) that it does not want",
                advice: isArchiver
                    ? "start evt-archiver" : "start its receiver, or evt consumers remove \(consumer.consumer)")
        }
        let severity: Finding.Severity = isArchiver || consumer.held.events > warnEvents ? .critical : .warning
        // One that polls has no session; and what has just been recorded is on its way.
        guard !moves, consumer.lag.seconds > StreamChecks.graceSeconds else { return nil }
        if !consumer.isServed {
            return isArchiver
                ? Finding(
                    severity, "archiver", "\(consumer.consumer) is stopped: \(waits); \(holds)",
                    advice:
                        "start evt-archiver; if it runs, its log and /readyz say what keeps it from the pusher or the warehouse")
                : Finding(
                    severity, "consumer",
                    "\(consumer.consumer) has no receiver: \(waits), last seen \(consumer.lastSeen); \(holds)",
                    advice: "start its receiver; if it is not needed any more, evt consumers remove \(consumer.consumer)")
        }
        // What was recorded since an open transaction began waits for it, whoever wants it.
        guard consumer.lag.seconds > (status.writers.map(\.age).max() ?? 0) + StreamChecks.graceSeconds else { return nil }
        return Finding(
            severity, isArchiver ? "archiver" : "consumer",
            "\(consumer.consumer) is served and confirms nothing: \(waits); \(holds)",
            advice: isArchiver
                ? "see evt-archiver's log: is the warehouse there, has it room?"
                : "look at its receiver: it hangs, or answers with errors; the pusher's log has them")
    }

    private var discarder: Finding? {
        guard !facts.hasDiscarder else {
            let lag = status.maxLag.map {
                "; of a consumer that is further behind than \(lagText($0)) it discards what is archived"
            }
            return Finding(.fine, "discarder", "it is connected\(lag ?? "")")
        }
        return Finding(
            .warning, "discarder", "none is connected to the database: the event table grows",
            advice: "start evt-discarder; if it runs, its log says why it cannot connect")
    }

    private var bloat: Finding? {
        let worst = facts.tables.filter { $0.deadRows > 100_000 && $0.deadRows > $0.liveRows * 4 }.max {
            $0.deadRows < $1.deadRows
        }
        guard let worst else { return nil }
        return Finding(
            .warning, "bloat", "\(worst.name) has \(countText(worst.deadRows)) dead rows, and takes \(sizeText(worst.bytes))",
            advice: "look for old transactions and replication slots that keep VACUUM from its work, then VACUUM \(worst.name)")
    }
}
