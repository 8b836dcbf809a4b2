import TestSupport
import Testing

/// What operators do with the archive, with the built binaries.
@Suite(.serialized) struct ArchiveCommandTests {
    @Test func aDamagedArchiveIsNamedKeepsTheRangeAndIsPutRight() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            var archiver = try deployment.start("evt-archiver")
            for number in 1...9 { try await deployment.record("KEPT", "\(number)") }
            try await eventually("the archive") { try await deployment.position(of: "ARCHIVER") == 9 }
            let well = try await deployment.evt("archive", "verify")
            #expect(well.status == 0 && well.text == "9 events verified, 0 findings\n", "\(well.text)")

            // One row deleted, one altered, one added.
            try await TestDatabase.execute(
                """
                DELETE FROM evt_history WHERE id = 3;
                UPDATE evt_history SET data = '55' WHERE id = 5;
                INSERT INTO evt_history VALUES (77, 'FOREIGN', '1', now())
                """, on: deployment.warehouse)
            let verified = try await deployment.evt("archive", "verify")
            #expect(verified.status == 1)
            #expect(verified.text == "missing  3\nchanged  5\nextra    77\n7 events verified, 3 findings\n", "\(verified.text)")
            let part = try await deployment.evt("archive", "verify", "--from", "5", "--to", "9")
            #expect(part.status == 1 && part.text.hasPrefix("changed  5\n4 events verified"), "\(part.text)")

            let discarder = try deployment.start("evt-discarder", [], ["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await eventually("a refusal") {
                discarder.output.contains("lacks 1: 3; differs in 1: 5")
            }
            #expect(try await deployment.backlog() == 9)
            let status = try await deployment.evt("status")
            #expect(
                status.text.contains("kept     events past 0 are kept: of ids 1 to 9 the archive of local:ARCHIVER"),
                "\(status.text)")

            let busy = try await deployment.evtAsOwner("archive", "rewind", "2")
            #expect(busy.status != 0 && busy.text.contains("stop it first"), "\(busy.text)")
            #expect(try await archiver.terminate().status == 0)
            let rewound = try await deployment.evtAsOwner("archive", "rewind", "2")
            #expect(rewound.status == 0 && rewound.text == "local:ARCHIVER goes on after 2\n", "\(rewound.text)")
            try await TestDatabase.execute("DELETE FROM evt_history WHERE id IN (5, 77)", on: deployment.warehouse)
            archiver = try deployment.start("evt-archiver")
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            #expect(try await deployment.evt("archive", "verify").text == "9 events verified, 0 findings\n")
            #expect(try await !deployment.evt("status").text.contains("kept"))

            let history = try await deployment.evt("history", "--from", "8")
            #expect(
                history.text.split(separator: "\n").map { $0.prefix(32) } == [
                    "{\"id\":\"8\",\"type\":\"KEPT\",\"data\":8", "{\"id\":\"9\",\"type\":\"KEPT\",\"data\":9",
                ])
            #expect(try await deployment.evt("history", "--count", "--want", "KEPT").text == "9\n")
            #expect(try await deployment.evt("history", "--since", "yesterday").status != 0)
            let unseen = try await ChildProcess.run(
                "evt", ["archive", "verify"],
                environment: deployment.environment.merging(["EVT_ARCHIVE_URL": "postgresql://127.0.0.1:1/none"]) { $1 })
            #expect(unseen.status == 2 && unseen.text.hasPrefix("Error: "), "\(unseen.text)")
            for process in [discarder, archiver, pusher] { #expect(try await process.terminate().status == 0) }
        }
    }

    /// As an archive looks after a database that was the wrong one has displaced events.
    @Test func whatWasSetAsideIsNamedUntilItIsPutBack() async throws {
        try await Deployment.with { deployment in
            let processes = try [deployment.start("evt-pusher"), deployment.start("evt-archiver")]
            for number in 1...9 { try await deployment.record("MINE", "\(number)") }
            try await eventually("the archive") { try await deployment.position(of: "ARCHIVER") == 9 }
            for process in processes.reversed() { #expect(try await process.terminate().status == 0) }
            let set = "INSERT INTO evt_history_lost (id, type, data, ts, ident, generation) SELECT"
            let rest = "'local:ARCHIVER', gen_random_uuid()"
            try await TestDatabase.execute(
                """
                \(set) id, type, data, ts, \(rest) FROM evt_history WHERE id BETWEEN 3 AND 6;
                -- Set aside twice, and not removed from the history.
                \(set) id, type, data, ts, \(rest) FROM evt_history WHERE id IN (4, 6);
                DELETE FROM evt_history WHERE id BETWEEN 3 AND 5;
                -- Under an id that another event has.
                \(set) 7, type, '77', ts, \(rest) FROM evt_history WHERE id = 7;
                """, on: deployment.warehouse)
            let verified = try await deployment.evt("archive", "verify")
            #expect(verified.status == 1)
            #expect(verified.text.hasPrefix("aside    7 events, 3 to 7, were moved out of the history"), "\(verified.text)")
            let part = try await deployment.evtAsOwner("archive", "lost", "restore", "--to", "3")
            #expect(part.status == 0 && part.text == "1 events put back\n", "\(part.text)")
            let restored = try await deployment.evtAsOwner("archive", "lost", "restore")
            #expect(restored.status == 1 && restored.text.contains("2 events put back\n"), "\(restored.text)")
            #expect(restored.text.contains("1 ids stay set aside") && restored.text.contains("there: 7."), "\(restored.text)")
            #expect(
                try await deployment.evt("archive", "verify").text.hasSuffix("\n9 events verified, 1 findings\n"))
            #expect(try await deployment.evtAsOwner("archive", "lost", "accept", "--reason", " ").status != 0)
            #expect(try await deployment.evtAsOwner("archive", "lost", "accept", "--reason", "a test").status == 0)
            let well = try await deployment.evt("archive", "verify")
            #expect(well.status == 0 && well.text == "9 events verified, 0 findings\n", "\(well.text)")
            #expect(try await deployment.evt("archive", "lost").text.hasPrefix("7  MINE  set aside "))
        }
    }

    @Test func whoHoldsEventsBackIsNamed() async throws {
        try await Deployment.with { deployment in
            _ = try await deployment.evtAsOwner("consumers", "register", "SLOW")
            _ = try await deployment.evtAsOwner("consumers", "register", "FAST")
            for number in 1...12 { try await deployment.record("HELD", "\(number)") }
            _ = try await deployment.evtAsOwner("consumers", "set", "FAST", "12")
            let discarder = try deployment.start("evt-discarder", [], ["EVT_DISCARD_WARN_EVENTS": "10"])
            try await eventually("a warning") { discarder.output.contains("holds events back") }
            #expect(
                ["consumer=local:SLOW", " events=12", "bytes=15"].allSatisfy { discarder.output.contains($0) },
                "\(discarder.output)")
            let status = try await deployment.evt("status")
            #expect(
                status.text.contains("held     by local:SLOW: 12 events, 15 B of data, the oldest waiting since 20"),
                "\(status.text)")
            #expect(try await discarder.terminate().status == 0)
        }
    }
}
