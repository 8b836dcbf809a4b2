import EventStreamDatabase

/// What a server's settings mean for the stream. Pure: facts in, findings out.
struct ServerChecks {
    let subject: String
    let facts: ServerFacts
    /// Whether the stream itself is there, not only its archive.
    let isActive: Bool

    var findings: [Finding] {
        [version, durability, autovacuum, connections, pooler, clock, disk, prepared, idle].compactMap { $0 }
    }

    private func setting(_ name: String) -> String { facts.settings[name] ?? "" }

    private var version: Finding {
        guard facts.version >= 130_000 else {
            return Finding(
                .critical, subject, "PostgreSQL \(facts.versionText) is too old", advice: "upgrade it to 13 or newer")
        }
        guard !facts.isStandby else {
            return Finding(
                .critical, subject, "the server is a standby, which can only be read",
                advice: "name the primary, or all servers: postgresql://db1,db2/app?target_session_attrs=read-write")
        }
        return Finding(.fine, subject, "PostgreSQL \(facts.versionText)")
    }

    private var durability: Finding? {
        for name in ["fsync", "full_page_writes"] where setting(name) == "off" {
            return Finding(
                .critical, subject, "\(name) is off: a crash loses what was committed, and events that were delivered",
                advice: "ALTER SYSTEM SET \(name) = on; SELECT pg_reload_conf()")
        }
        return nil
    }

    private var autovacuum: Finding? {
        guard setting("autovacuum") == "off" else { return nil }
        return Finding(
            .warning, subject, "autovacuum is off: tables grow, and queries on them get slow",
            advice: "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()")
    }

    private var connections: Finding? {
        let usable = (Int(setting("max_connections")) ?? 0) - (Int(setting("superuser_reserved_connections")) ?? 0)
        guard usable > 0, facts.connections * 5 >= usable * 4 else { return nil }
        return Finding(
            .warning, subject, "\(facts.connections) of \(usable) connections are taken",
            advice: "raise max_connections, or put the applications, not the pipeline, behind a pooler")
    }

    private var pooler: Finding? {
        guard facts.isPooled else { return nil }
        return Finding(
            isActive ? .critical : .warning, subject,
            "the connection goes through a pooler: locks, LISTEN and prepared statements get lost there",
            advice: "give the four processes and evt the server's own address; only writers may come through a pooler")
    }

    private var clock: Finding? {
        let offset = facts.clockOffset
        guard abs(offset) > 2 else { return nil }
        return Finding(
            .warning, subject,
            "its clock is \(timeText(abs(offset))) \(offset > 0 ? "ahead of" : "behind") this machine's: times and lags are off by that",
            advice: "let NTP (chrony, systemd-timesyncd) set both")
    }

    private var disk: Finding? {
        guard let error = facts.diskError else { return nil }
        return Finding(
            .critical, subject, "there is no room on its disk: \(error)",
            advice: "make room: delete what is no database file, or grow the volume; never delete from pg_wal. "
                + "Nothing that was answered is lost, and all goes on by itself when there is room")
    }

    private var prepared: Finding? {
        guard isActive, setting("max_prepared_transactions") != "0", !setting("max_prepared_transactions").isEmpty else {
            return nil
        }
        return Finding(
            .note, subject,
            "max_prepared_transactions is above 0: the pusher polls every few milliseconds instead of being notified",
            advice: "if nobody prepares transactions that record events: ALTER DATABASE … SET eventstream.notify = on")
    }

    private var idle: Finding? {
        guard isActive, setting("idle_in_transaction_session_timeout") == "0" else { return nil }
        return Finding(
            .note, subject, "idle_in_transaction_session_timeout is 0: a forgotten transaction can hold the stream for ever",
            advice: "ALTER ROLE … SET idle_in_transaction_session_timeout = '5min', for the roles of the applications")
    }
}
