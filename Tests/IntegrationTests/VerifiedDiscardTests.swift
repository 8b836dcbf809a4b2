import EventStream
import EventStreamArchiver
import EventStreamDatabase
import EventStreamDiscarder
import LibPQ
import TestSupport
import Testing

/// Nothing is discarded before the archive has been seen to hold it.
@Suite(.serialized) struct VerifiedDiscardTests {
    /// The ids 1 to 100 and 102 to 201.
    private func archive(_ pipeline: Pipeline) async throws {
        try await pipeline.record("KEPT", (1...100).map { "{\"n\": \($0)}" })
        _ = try await TestDatabase.number("SELECT nextval('evt_queue_id_seq')", on: pipeline.active)
        try await pipeline.record("KEPT", (102...201).map { "{\"n\": \($0)}" })
        try await pipeline.run([.pusher, .archiver]) {
            try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == 201 }
        }
    }

    private func discard(_ pipeline: Pipeline, _ body: () async throws -> Void) async throws {
        try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }, body)
    }

    @Test func whatTheArchiveHoldsIsDiscardedAndItsSumsStay() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            try await discard(pipeline) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            let sums = try await TestDatabase.rows(
                "SELECT sum(events), min(first_id), max(last_id) FROM evt_history_sums", on: pipeline.warehouse)
            #expect(sums == [["200", "1", "201"]])
            let (findings, summary) = try await pipeline.verify()
            #expect(findings.isEmpty && summary == .init(verified: 200, wrong: 0))
            // Long gone from the active table, an event is changed in the archive: the range is named.
            try await TestDatabase.execute("UPDATE evt_history SET data = '0' WHERE id = 7", on: pipeline.warehouse)
            let later = try await pipeline.verify()
            guard case .range(let record, let now)? = later.findings.first, later.findings.count == 1 else {
                Issue.record("findings: \(later.findings)")
                return
            }
            #expect(record.first <= EventID(7) && EventID(7) <= record.last && now.events == record.sum.events)
            #expect(later.summary.wrong == 1)
        }
    }

    @Test(arguments: [
        ("DELETE FROM evt_history WHERE id = 200", "lacks 1: 200"),
        ("UPDATE evt_history SET data = '{\"n\":200}' WHERE id = 200", "differs in 1: 200"),
        ("UPDATE evt_history SET ts = ts + interval '1 microsecond' WHERE id = 200", "differs in 1: 200"),
        ("UPDATE evt_history SET type = 'OTHER' WHERE id = 200", "differs in 1: 200"),
        ("INSERT INTO evt_history SELECT 200, type, data, '2001-01-01' FROM evt_history WHERE id = 200", "differs in 1: 200"),
        ("INSERT INTO evt_history SELECT 101, type, data, ts FROM evt_history WHERE id = 200", "has too many 1: 101"),
    ])
    func anArchiveThatDiffersKeepsTheRangeAndSaysWhy(_ tampering: String, _ reason: String) async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            try await TestDatabase.execute(
                "CREATE TABLE before AS SELECT * FROM evt_history; \(tampering)", on: pipeline.warehouse)
            try await discard(pipeline) {
                try await eventually("a refusal") { try await pipeline.refusal()?.contains(reason) == true }
                #expect(try await pipeline.backlog() == 200)
                // Put right, it goes on by itself.
                try await TestDatabase.execute(
                    "DELETE FROM evt_history; INSERT INTO evt_history SELECT * FROM before", on: pipeline.warehouse)
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
                try await eventually("no refusal") { try await pipeline.refusal() == nil }
            }
        }
    }

    @Test func whatIsBeforeADifferenceGoesNevertheless() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("EARLY", ["1", "2"])
            _ = try await TestDatabase.number("SELECT setval('evt_queue_id_seq', 20000)", on: pipeline.active)
            try await pipeline.record("LATE", ["3", "4"])
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the archive") { try await pipeline.archived() == 4 }
                try await eventually("the position") { try await pipeline.position(of: "ARCHIVER") == 20002 }
            }
            try await TestDatabase.execute("DELETE FROM evt_history WHERE id = 20002", on: pipeline.warehouse)
            try await discard(pipeline) {
                try await eventually("the discard of the first") { try await pipeline.backlog() == 2 }
                try await eventually("a refusal") { try await pipeline.refusal()?.contains("lacks 1: 20002") == true }
                #expect(try await pipeline.backlog() == 2)
            }
        }
    }

    @Test func anArchiverThatNeverWasKeepsEverything() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("KEPT", ["1", "2"])
            try await TestDatabase.execute(
                "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:OTHER', 2)", on: pipeline.active)
            try await discard(pipeline) {
                try await eventually("a refusal") {
                    try await pipeline.refusal()?.contains("no such archiver is registered") == true
                }
                #expect(try await pipeline.backlog() == 2)
            }
        }
    }

    @Test func aWarehouseThatForgotWhatWasComparedIsFound() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            try await discard(pipeline) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            // An older copy of it, or an empty one.
            try await TestDatabase.execute("TRUNCATE evt_history, evt_history_sums", on: pipeline.warehouse)
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [.forgotten(first: EventID(1), last: EventID(201))] && summary.wrong == 1)
        }
    }

    @Test func ofTwoDiscardersOneWorksAndTheOtherStandsBy() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            let roles = """
                SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = \(AdvisoryLock.discarder.number) AND granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """
            try await discard(pipeline) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
                try await discard(pipeline) {
                    try await eventually("two discarders") {
                        try await TestDatabase.number(
                            """
                            SELECT count(*) FROM pg_stat_activity
                            WHERE application_name = 'evt-discarder' AND datname = current_database()
                            """, on: pipeline.active) >= 2
                    }
                    #expect(try await TestDatabase.number(roles, on: pipeline.active) == 1)
                    // The first one's connection ends; one of them goes on.
                    try await TestDatabase.execute(
                        """
                        SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = \(AdvisoryLock.discarder.number) AND granted
                            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        """, on: pipeline.active)
                    try await pipeline.record("MORE", ["1"])
                    try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 202", on: pipeline.active)
                    try await TestDatabase.execute(
                        "INSERT INTO evt_history SELECT 202, 'MORE', '1', '\(try await newestTime(pipeline))'",
                        on: pipeline.warehouse)
                    try await eventually("the discard of the last") { try await pipeline.backlog() == 0 }
                }
            }
        }
    }

    private func newestTime(_ pipeline: Pipeline) async throws -> String {
        try await TestDatabase.rows("SELECT ts FROM evt_queue ORDER BY id DESC LIMIT 1", on: pipeline.active)[0][0]!
    }

    @Test func whatWasSeenInAnotherWarehouseCountsForNothing() async throws {
        try await Pipeline.with([]) { pipeline in
            let segment = 1 << 17
            try await pipeline.record("KEPT", ["1", "2", "3"])
            _ = try await TestDatabase.number("SELECT setval('evt_queue_id_seq', \(segment))", on: pipeline.active)
            try await pipeline.record("KEPT", ["4"])
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the position") { try await pipeline.position(of: "ARCHIVER") == segment + 1 }
            }
            try await TestDatabase.connected(to: pipeline.active) { reader in
                try await reader.query("BEGIN")
                try await reader.query("SELECT count(*) FROM evt_queue")
                try await discard(pipeline) {
                    // Verified, and not discarded: somebody is reading.
                    try await eventually("sums") {
                        try await TestDatabase.number("SELECT count(*) FROM evt_history_sums", on: pipeline.warehouse) > 0
                    }
                    try await TestDatabase.execute(
                        """
                        DELETE FROM evt_history; DELETE FROM evt_history_sums;
                        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND pid <> pg_backend_pid()
                        """, on: pipeline.warehouse)
                    // An attempt under way finds the reader still there; the next one asks the warehouse again.
                    try await eventually("a refusal") { try await pipeline.refusal()?.contains("lacks 3") == true }
                    try await reader.query("COMMIT")
                    #expect(try await pipeline.backlog() == 4)
                }
            }
        }
    }

    @Test func aWarehouseThatIsAwayKeepsEverythingAndSaysSo() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            var away = pipeline.required()
            away.url = "host=127.0.0.1 port=1 dbname=nowhere"
            try await pipeline.run([.discarder], discarder: { $0.required = [away] }) {
                try await eventually("a refusal") { try await pipeline.refusal()?.contains("cannot be asked") == true }
                #expect(try await pipeline.backlog() == 200)
            }
            try await discard(pipeline) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
                try await eventually("no refusal") { try await pipeline.refusal() == nil }
            }
        }
    }

    @Test func aWarehouseOfBeforeKeepsWhatItHasNotGot() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            try await TestDatabase.execute(
                "DELETE FROM evt_history WHERE id > 50; UPDATE evt_history_positions SET last_evt_id = 50", on: pipeline.warehouse
            )
            try await discard(pipeline) {
                try await eventually("a refusal") { try await pipeline.refusal()?.contains("restored?") == true }
            }
            #expect(try await pipeline.backlog() == 200)
            let (findings, _) = try await pipeline.verify()
            #expect(findings == Array(51...100).map { .missing(EventID($0)) } + Array(102...201).map { .missing(EventID($0)) })
        }
    }

    @Test func aDiscarderThatDiesBetweenSumsAndDeletingLosesNoCount() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(pipeline)
            try await TestDatabase.execute("CREATE TABLE copied AS SELECT * FROM evt_queue", on: pipeline.active)
            // As if it had died there, more than once.
            for through in [60, 60, 101] {
                try await discard(pipeline) {
                    try await eventually("the discard") { try await pipeline.backlog() == 0 }
                }
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (id, type, data, ts)
                        SELECT id, type, data, ts FROM copied WHERE id > \(through);
                    UPDATE evt_queue_state SET discarded = \(through)
                    """, on: pipeline.active)
            }
            try await discard(pipeline) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            let (findings, summary) = try await pipeline.verify()
            #expect(findings.isEmpty && summary == .init(verified: 200, wrong: 0))
            let sums = try await TestDatabase.rows("SELECT sum(events) FROM evt_history_sums", on: pipeline.warehouse)
            #expect(sums == [["200"]])
        }
    }

    @Test func severalArchiversShareTheWork() async throws {
        try await Pipeline.with([]) { pipeline in
            func share(_ component: String, _ type: String) -> (inout Archiver.Configuration) -> Void {
                {
                    $0.consumer = ConsumerIdentity(component)!
                    $0.want = EventFilter([EventType(type)!])!
                }
            }
            for round in 0..<50 { try await pipeline.record(round.isMultiple(of: 2) ? "EVEN" : "ODD", ["\(round)"]) }
            try await pipeline.run([.pusher]) {
                try await pipeline.run([.archiver], archiver: share("ARCHIVE_A", "EVEN")) {
                    try await pipeline.run([.archiver], archiver: share("ARCHIVE_B", "ODD")) {
                        try await eventually("the archive") { try await pipeline.archived() == 50 }
                        try await eventually("both positions") {
                            let (a, b) = (
                                try await pipeline.position(of: "ARCHIVE_A"), try await pipeline.position(of: "ARCHIVE_B")
                            )
                            return a >= 49 && b >= 50
                        }
                    }
                }
            }
            let required = ["ARCHIVE_A", "ARCHIVE_B"].map { pipeline.required($0) }
            // Each has confirmed what it did not want, too; its place in the warehouse is at the last it wanted.
            try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 50", on: pipeline.active)
            try await TestDatabase.execute("UPDATE evt_history SET data = '1' WHERE id = 30", on: pipeline.warehouse)
            try await pipeline.run([.discarder], discarder: { $0.required = required }) {
                try await eventually("a refusal") { try await pipeline.refusal()?.contains("ARCHIVE_B differs in 1: 30") == true }
                #expect(try await pipeline.backlog() == 50)
                try await TestDatabase.execute("UPDATE evt_history SET data = '29' WHERE id = 30", on: pipeline.warehouse)
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            for component in ["ARCHIVE_A", "ARCHIVE_B"] {
                let (findings, summary) = try await pipeline.verify(component)
                #expect(findings.isEmpty && summary.verified == 25)
            }
        }
    }
}
