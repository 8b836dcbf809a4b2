import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// Where consumers begin, by the operator's command.
@Suite(.serialized) struct ConsumerCommandTests {
    @Test func aConsumerBeginsWhereItIsToldAndTheOperatorLearnsWhatFollows() async throws {
        try await Deployment.withHistory { deployment in
            let forms: [(from: String, position: Int, says: String)] = [
                ("first", 0, "before the first event: 12 events follow, the first recorded 2026-01-01T12:00:00Z"),
                ("0", 0, "before the first event: 12 events follow, the first recorded 2026-01-01T12:00:00Z"),
                ("4", 4, "after 4: 8 events follow, the first recorded 2026-01-05T12:00:00Z"),
                ("11", 11, "after 11: 1 event follows, the first recorded 2026-01-12T12:00:00Z"),
                ("12", 12, "after 12: no event follows yet"),
                ("now", 12, "after 12: no event follows yet"),
                ("2020-01-01", 0, "before the first event: 12 events follow, the first recorded 2026-01-01T12:00:00Z"),
                ("2026-01-07", 6, "after 6: 6 events follow, the first recorded 2026-01-07T12:00:00Z"),
                ("2026-01-07T12:00:00Z", 6, "after 6: 6 events follow, the first recorded 2026-01-07T12:00:00Z"),
                ("2026-01-07T12:00:01Z", 7, "after 7: 5 events follow, the first recorded 2026-01-08T12:00:00Z"),
                ("2026-01-11T13:00:00Z", 11, "after 11: 1 event follows, the first recorded 2026-01-12T12:00:00Z"),
                ("2999-01-01", 12, "after 12: no event follows yet"),
            ]
            for (number, form) in forms.enumerated() {
                let registered = try await deployment.evtAsOwner("consumers", "register", "C\(number)", "--from", form.from)
                #expect(
                    registered.status == 0 && registered.text == "registered local:C\(number) \(form.says)\n",
                    "\(registered.text)")
                #expect(try await deployment.position(of: "C\(number)") == form.position, "\(form.from)")
            }
            let table = try await deployment.evtAsOwner("consumers", "register", "TABLE")
            #expect(
                table.text == """
                    registered local:TABLE after 9: 3 events follow, the first recorded 2026-01-10T12:00:00Z
                    events up to 9 were discarded and are in the archive: `evt consumers set local:TABLE --to first` brings these events, too

                    """, "\(table.text)")
            #expect(try await deployment.position(of: "TABLE") == 9)

            let again = try await deployment.evtAsOwner("consumers", "register", "TABLE", "--from", "4")
            #expect(
                again.status == 0
                    && again.text
                        == "local:TABLE was registered already; evt consumers set local:TABLE --to 4 moves the position\n",
                "\(again.text)")
            #expect(try await deployment.position(of: "TABLE") == 9)
            for (from, why) in [("13", "13 is beyond 12"), ("yesterday", "yesterday is no position"), ("-1", "")] {
                let refused = try await deployment.evtAsOwner("consumers", "register", "NOT", "--from", from)
                #expect(refused.status != 0 && refused.text.contains(why), "\(refused.text)")
            }
            #expect(try await !deployment.isRegistered("NOT"))
            // The pusher's role may read what it needs in both databases.
            let role = try await ChildProcess.run(
                "evt", ["consumers", "register", "ROLE", "--from", "2026-01-07"],
                environment: deployment.environment.merging([
                    "EVT_DATABASE_URL": TestDatabase.url(deployment.active, as: .pusher),
                    "EVT_ARCHIVE_URL": TestDatabase.url(deployment.warehouse, as: .pusher),
                ]) { $1 })
            #expect(role.status == 0 && role.text.hasPrefix("registered local:ROLE after 6: 6 events follow"), "\(role.text)")
        }
    }

    @Test func aPositionIsMovedToWhereEachEventAfterItCanBeHad() async throws {
        try await Deployment.withHistory { deployment in
            try await deployment.register("APP")
            let forms: [(arguments: [String], position: Int)] = [
                (["--to", "first"], 0), (["--to", "now"], 12), (["--to", "0"], 0), (["--to", "head"], 12), (["--to", "3"], 3),
                (["--to", "2026-01-11"], 10), (["0"], 0), (["head"], 12), (["5"], 5), (["2026-01-03T00:00:00Z"], 2),
            ]
            for form in forms {
                let set = try await deployment.evtAsOwner(["consumers", "set", "APP"] + form.arguments)
                let archived = form.position < 9 ? "; events up to 9 come from the archive" : ""
                #expect(set.status == 0 && set.text == "local:APP is at \(form.position)\(archived)\n", "\(set.text)")
                #expect(try await deployment.position(of: "APP") == form.position)
            }
            for arguments in [[], ["--to", "3", "3"], ["--to", "13"], ["--to", "soon"]] {
                let refused = try await deployment.evtAsOwner(["consumers", "set", "APP"] + arguments)
                #expect(refused.status != 0, "\(refused.text)")
            }
            let archiver = try await deployment.evtAsOwner("consumers", "set", "ARCHIVER", "--to", "3")
            #expect(
                archiver.status == 1 && archiver.text.contains("is an archiver")
                    && archiver.text.contains("The least possible position is 9"),
                "\(archiver.text)")
            #expect(try await deployment.position(of: "ARCHIVER") == 9)
            #expect(try await deployment.evtAsOwner("consumers", "set", "ARCHIVER", "--to", "9").status == 0)
            let unknown = try await deployment.evtAsOwner("consumers", "set", "NOBODY", "--to", "3")
            #expect(unknown.status == 1 && unknown.text == "Error: there is no consumer local:NOBODY\n", "\(unknown.text)")
            // What is discarded cannot be archived again.
            let rewound = try await deployment.evtAsOwner("archive", "rewind", "2")
            #expect(
                rewound.text
                    == "local:ARCHIVER goes on after 9: events up to 9 are discarded and stay as they are archived\n",
                "\(rewound.text)")
            #expect(try await deployment.position(of: "ARCHIVER") == 9)
            #expect(try await TestDatabase.number("SELECT last_evt_id FROM evt_history_positions", on: deployment.warehouse) == 9)
        }
    }

    @Test func whereTheArchiveCannotHelpTheOperatorLearnsHowFarBackAConsumerCanBegin() async throws {
        try await Deployment.withHistory { deployment in
            try await deployment.register("APP")
            let discarded = "events up to 9 are discarded"
            func refuses(_ start: String, _ words: String..., archive: String?) async throws {
                for command in [["register", "NEW", "--from", start], ["set", "APP", "--to", start]] {
                    let refused = try await deployment.consumers(command, archive: archive)
                    #expect(
                        refused.status == 1 && ([discarded] + words).allSatisfy(refused.text.contains),
                        "\(command) \(refused.text)")
                }
                #expect(try await !deployment.isRegistered("NEW"))
                #expect(try await deployment.position(of: "APP") == 9)
            }
            func accepts(_ start: String, _ position: Int, archive: String?) async throws {
                let set = try await deployment.consumers(["set", "APP", "--to", start], archive: archive)
                #expect(set.status == 0 && set.text.hasPrefix("local:APP is at \(position)"), "\(start) \(set.text)")
                _ = try await deployment.consumers(["set", "APP", "--to", "9"], archive: nil)
            }
            // Without one.
            for start in ["first", "8", "2026-01-10"] {
                try await refuses(start, "so the least possible position is 9", "EVT_ARCHIVE_URL", archive: nil)
            }
            for (start, position) in [("9", 9), ("10", 10), ("now", 12), ("2999-01-01", 12)] {
                try await accepts(start, position, archive: nil)
            }
            // The pushers know that all of what is discarded was there before.
            try await TestDatabase.execute(
                """
                DELETE FROM evt_queue_marks;
                INSERT INTO evt_queue_marks VALUES (9, '2026-01-09T12:00Z', '2026-01-09T13:00Z')
                """, on: deployment.active)
            try await accepts("2026-01-11", 10, archive: nil)
            try await refuses("2026-01-09", archive: nil)

            // With one that lacks something.
            let least = "The least possible position is"
            let archives: [(change: String, words: [String], accepted: [(String, Int)])] = [
                ("complete_from = 4", ["has all events only after 4", "\(least) 4"], [("4", 4), ("2026-01-07", 6)]),
                ("last_evt_id = 7", ["reaches only up to 7", "\(least) 9"], [("9", 9)]),
                ("want = '{OLD}'", ["archives only some types", "\(least) 9"], [("9", 9)]),
                ("generation = gen_random_uuid()", ["nothing of the present generation", "\(least) 9"], [("9", 9)]),
                ("stream = gen_random_uuid()", ["holds another stream", "\(least) 9"], [("9", 9)]),
            ]
            let original = try await TestDatabase.rows(
                "SELECT stream, generation FROM evt_history_positions", on: deployment.warehouse)[0].map { $0 ?? "" }
            for archive in archives {
                try await TestDatabase.execute(
                    """
                    UPDATE evt_history_positions SET complete_from = 0, last_evt_id = 9, want = NULL, stream = '\(original[0])',
                        generation = '\(original[1])';
                    UPDATE evt_history_positions SET \(archive.change)
                    """, on: deployment.warehouse)
                // Of the time of the first event that it has, it may lack some.
                for start in ["first", "3", "2026-01-03", "2026-01-05"] {
                    try await refuses(start, archive.words[0], archive.words[1], archive: deployment.warehouse)
                }
                for (start, position) in archive.accepted {
                    try await accepts(start, position, archive: deployment.warehouse)
                }
            }
            try await TestDatabase.execute("DELETE FROM evt_history_positions", on: deployment.warehouse)
            try await refuses("first", "no archiver has archived there yet", archive: deployment.warehouse)
            // Asked only if it is needed, and then it has to answer.
            let nowhere = "postgresql://127.0.0.1:1/none"
            try await accepts("9", 9, archive: nowhere)
            let unreachable = try await deployment.consumers(["register", "NEW", "--from", "first"], archive: nowhere)
            #expect(
                unreachable.status == 1 && unreachable.text.contains("the archive evt_history cannot be read: "),
                "\(unreachable.text)")
            let registered = try await deployment.consumers(["register", "NEW"], archive: nowhere)
            #expect(
                registered.status == 0
                    && registered.text.contains("events up to 9 were discarded; the archive evt_history cannot be read"),
                "\(registered.text)")
        }
    }

    @Test func nothingIsDiscardedBetweenTheCheckOfAStartAndTheRegistration() async throws {
        try await Deployment.with { deployment in
            for number in 1...9 { try await deployment.record("KEPT", "\(number)") }
            let oid = try await TestDatabase.number("SELECT 'evt_queue'::regclass::oid", on: deployment.active)
            let waiting = """
                SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """
            for (name, discarded) in [("EARLY", 3), ("LATE", 4)] {
                let registering: ChildProcess = try await {
                    nonisolated(unsafe) var registering: ChildProcess?
                    // As a discarder at work.
                    try await TestDatabase.connected(to: deployment.active) { connection in
                        try await connection.query("BEGIN")
                        let key = AdvisoryLock.discard.key(of: UInt32(oid))
                        try await connection.query(Statement("SELECT pg_advisory_xact_lock(\(key))"))
                        registering = try deployment.startAlone("consumers", "register", name, "--from", "3")
                        try await eventually("the wait for the discarder") {
                            try await TestDatabase.number(waiting, on: deployment.active) == 1
                        }
                        try await connection.query(Statement("UPDATE evt_queue_state SET discarded = \(discarded)"))
                        try await connection.query("COMMIT")
                    }
                    return registering!
                }()
                let end = try await registering.ended()
                #expect((end.status == 0) == (discarded == 3), "\(end.text)")
                #expect(try await deployment.isRegistered(name) == (discarded == 3))
                if discarded == 4 { #expect(end.text.contains("events up to 4 are discarded"), "\(end.text)") }
            }
        }
    }

    @Test func theOperatorLearnsThatASessionEndsAndThatNoPusherReadsTheArchive() async throws {
        try await Deployment.withHistory { deployment in
            try await deployment.register("APP")
            let note =
                "no pusher at work reads the archive, so these events do not come yet: give EVT_ARCHIVE_URL to evt-pusher\n"
            // A pusher is at work as long as it has the lock of its id.
            try await TestDatabase.connected(to: deployment.active) { connection in
                try await connection.query("SELECT pg_advisory_lock(4711)")
                try await connection.query("INSERT INTO evt_queue_pushers (id) VALUES (4711)")
                try await connection.query("UPDATE evt_consumers SET session_owner = 4711 WHERE ident = 'local:APP'")
                let moved = try await deployment.evtAsOwner("consumers", "set", "APP", "--to", "3")
                #expect(
                    moved.text == "local:APP is at 3; its session begins anew; events up to 9 come from the archive\n\(note)",
                    "\(moved.text)")
                let registered = try await deployment.evtAsOwner("consumers", "register", "NEW", "--from", "8")
                #expect(registered.text.hasSuffix("2026-01-09T12:00:00Z\n\(note)"), "\(registered.text)")
                #expect(try await deployment.evtAsOwner("consumers", "set", "APP", "--to", "9").text == "local:APP is at 9\n")
                try await connection.query("UPDATE evt_queue_pushers SET reads_archive = true WHERE id = 4711")
                #expect(try await !deployment.evtAsOwner("consumers", "set", "APP", "--to", "3").text.contains(note))
            }
        }
    }
}

extension Deployment {
    /// Events 1 to 12, each of the day of January 2026 that its id says, at noon: 1 to 9 are archived and discarded. Nobody is at
    /// work any more.
    fileprivate static func withHistory(_ body: (Deployment) async throws -> Void) async throws {
        try await with { deployment in
            let processes = try [
                deployment.start("evt-pusher"), deployment.start("evt-archiver"),
                deployment.start("evt-discarder", [], ["EVT_DISCARD_REQUIRE": "ARCHIVER"]),
            ]
            func record(_ type: String, _ days: ClosedRange<Int>) async throws {
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (type, data, ts) SELECT '\(type)', to_json(day), timestamp '2025-12-31 12:00' + day * interval '1 day'
                    FROM generate_series(\(days.lowerBound), \(days.upperBound)) day ORDER BY day
                    """, on: deployment.active)
            }
            try await record("OLD", 1...9)
            try await eventually("the discard") {
                try await TestDatabase.number("SELECT discarded FROM evt_queue_state", on: deployment.active) == 9
            }
            for process in processes.reversed() { #expect(try await process.terminate().status == 0) }
            try await record("NEW", 10...12)
            try await body(deployment)
        }
    }

    fileprivate func evtAsOwner(_ arguments: [String]) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: environment)
    }

    /// As the owner, with another archive, or without one.
    fileprivate func consumers(_ arguments: [String], archive: String?) async throws -> ChildProcess.Output {
        var settings = environment
        settings["EVT_ARCHIVE_URL"] = archive
        return try await ChildProcess.run("evt", ["consumers"] + arguments, environment: settings)
    }

    fileprivate func startAlone(_ arguments: String...) throws -> ChildProcess {
        try ChildProcess("evt", arguments, environment: environment.filter { $0.key != "EVT_ARCHIVE_URL" })
    }
}
