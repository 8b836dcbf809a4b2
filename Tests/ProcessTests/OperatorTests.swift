import Foundation
import LibPQ
import TestSupport
import Testing

/// The operator's command.
@Suite(.serialized) struct OperatorTests {
    @Test func addReadsEventsFromStandardInput() async throws {
        try await Deployment.with { deployment in
            let generator = try deployment.start("evt-generator")
            try await generator.serves()
            let lines = (1...500).map { "{\"type\":\"LINE\",\"data\":\($0)}" }.joined(separator: "\n")
            let added = try await deployment.evt("add", "--stdin", input: lines + "\n")
            let expected = (1...500).map { "\($0)\n" }.joined()
            #expect(added.text == expected)
            let bad = try await deployment.evt(
                "add", "--stdin", input: "{\"type\":\"not a type\",\"data\":1}\nnonsense\n{\"type\":\"OK\",\"data\":2}\n")
            #expect(bad.status == 1)
            for part in ["line 1", "line 2", "501"] { #expect(bad.text.contains(part)) }
            #expect(try await generator.terminate().status == 0)
            let unanswered = try await deployment.evt("add", "LINE", "--timeout", "200ms")
            #expect(unanswered.status == 1 && unanswered.text.contains("nobody answers at"), "\(unanswered.text)")
        }
    }

    @Test func tailPrintsEventsAsTheyComeLiveAndReliably() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await deployment.record("BEFORE", "{\"a\":\n 1}")
            let reliable = try await deployment.evt("tail", "--component", "TAIL", "--count", "1", "--precise")
            #expect(reliable.text.contains("\"type\":\"BEFORE\",\"data\":{\"a\":  1}"), "\(reliable.text)")
            #expect(reliable.text.contains("\"us\":"))
            // Part of a group: what was printed is confirmed, the rest comes the next time.
            for number in 1...5 { try await deployment.record("PART", "\(number)") }
            for expected in ["1", "2"] {
                let one = try await deployment.evt("tail", "--component", "TAIL", "--want", "PART", "--count", "1")
                #expect(one.text.contains("\"data\":\(expected),") && !one.text.contains("Error"), "\(one.text)")
            }
            let live = try deployment.start("evt", ["tail", "--want", "AFTER", "--count", "1"])
            try await eventually("a live event") {
                try await deployment.record("NOISE")
                try await deployment.record("AFTER")
                return !live.isRunning
            }
            #expect(live.output.contains("\"type\":\"AFTER\""))
            // Removing one that is at work would make it begin anew, past events it has not got.
            let working = try deployment.start("evt", ["tail", "--component", "WORKING"])
            try await eventually("its work") { working.output.contains("BEFORE") }
            let kept = try await deployment.evtAsOwner("consumers", "remove", "WORKING")
            #expect(kept.status == 1 && kept.text.contains("is at work"), "\(kept.text)")
            // So would renaming it, and nobody would serve the new name.
            let stays = try await deployment.evtAsOwner("consumers", "rename", "WORKING", "RENAMED")
            #expect(stays.status == 1 && stays.text.contains("is at work") && stays.text.contains("--force"), "\(stays.text)")
            #expect(try await !deployment.isRegistered("RENAMED"))
            #expect(try await deployment.evtAsOwner("consumers", "rename", "--force", "WORKING", "RENAMED").status == 0)
            #expect(try await deployment.isRegistered("RENAMED"))
            try await eventually("its new session") { try await deployment.isRegistered("WORKING") }
            try await eventually("it to be at work") {
                try await deployment.evtAsOwner("consumers", "remove", "WORKING").text.contains("is at work")
            }
            #expect(try await deployment.evtAsOwner("consumers", "remove", "--force", "WORKING").status == 0)
            working.signal(SIGKILL)
            _ = try await working.ended()
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func pollPrintsAndConfirms() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await pusher.serves()
            for number in 1...3 { try await deployment.record("POLL", "\(number)") }
            let first = try await deployment.evt("poll", "POLLER", "--register")
            #expect(first.text.split(separator: "\n").count == 3)
            let second = try await deployment.evt("poll", "POLLER", "--last-id", "2")
            #expect(second.text.contains("\"id\":\"3\"") && !second.text.contains("\"id\":\"2\""))
            let unknown = try await deployment.evt("poll", "NOBODY")
            #expect(unknown.status != 0 && unknown.text.contains("NotRegistered"))
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func fieldsArePrintedWhereTheyAreAskedFor() async throws {
        try await Deployment.with { deployment in
            let processes = [try deployment.start("evt-pusher"), try deployment.start("evt-archiver")]
            try await processes[0].serves()
            try await TestDatabase.execute(
                "SELECT evt_add('A', '1', key => 'k', meta => '{\"m\" : 1}'); SELECT evt_add('A', '2')", on: deployment.active)
            try await eventually("the archive") { try await deployment.position(of: "ARCHIVER") == 2 }
            for command in [["poll", "LIVE"], ["tail", "--component", "PRINTED", "--count", "2"], ["history"]] {
                func lines(_ more: String...) async throws -> [Substring] {
                    let environment = deployment.environment
                    let output = try await ChildProcess.run("evt", command + more, environment: environment)
                    #expect(output.status == 0, "\(output.text)")
                    _ = try await deployment.evtAsOwner("consumers", "remove", "--force", "PRINTED")
                    return output.text.split(separator: "\n")
                }
                let plain = try await lines()
                #expect(plain.count == 2 && plain[0].hasSuffix("Z\"}") && plain[1].hasSuffix("Z\"}"), "\(plain)")
                let both = try await lines("--fields", "meta,key")
                #expect(both[0].hasSuffix(#"Z","key":"k","meta":{"m" : 1}}"#) && both[1] == plain[1], "\(both)")
                let all = try await lines("--fields", "key", "--precise")
                #expect(all[0].contains(#","us":"#) && all[0].hasSuffix(#","key":"k"}"#) && all[1].contains(#","us":"#), "\(all)")
            }
            let unknown = try await deployment.evt("poll", "LIVE", "--fields", "key,id")
            #expect(unknown.status != 0 && unknown.text.contains("id is no field"), "\(unknown.text)")
            for process in processes { _ = try await process.terminate() }
        }
    }

    @Test func consumersAreListedAndChanged() async throws {
        try await Deployment.with { deployment in
            for number in 1...5 { try await deployment.record("C", "\(number)") }
            let registered = try await deployment.evtAsOwner("consumers", "register", "APP")
            #expect(
                registered.text.hasPrefix("registered local:APP before the first event: 5 events follow, the first recorded 20"),
                "\(registered.text)")
            #expect(try await deployment.evtAsOwner("consumers", "set", "APP", "3").status == 0)
            #expect(try await deployment.position(of: "APP") == 3)
            #expect(try await deployment.evtAsOwner("consumers", "set", "APP", "head").status == 0)
            #expect(try await deployment.position(of: "APP") == 5)
            #expect(try await deployment.evtAsOwner("consumers", "set", "APP", "6").status != 0)
            #expect(try await deployment.evtAsOwner("consumers", "rename", "local:APP", "other:APP").status == 0)
            #expect(try await deployment.evt("consumers", "list").text.contains("other:APP"))
            #expect(try await deployment.evtAsOwner("consumers", "remove", "other:APP").status == 0)
            let gone = try await deployment.evtAsOwner("consumers", "remove", "other:APP")
            #expect(gone.status == 1 && gone.text == "Error: there is no consumer other:APP\n")
            #expect(try await deployment.evtAsOwner("consumers", "register", "LIVE").status != 0)
        }
    }

    @Test func theMaximumLagOfAConsumerIsSet() async throws {
        try await Deployment.with { deployment in
            _ = try await deployment.evtAsOwner("consumers", "register", "APP")
            func set(_ arguments: String...) async throws -> ChildProcess.Output {
                try await ChildProcess.run("evt", ["consumers", "set", "APP"] + arguments, environment: deployment.environment)
            }
            func stored() async throws -> [String?] {
                try await TestDatabase.rows("SELECT max_lag_events, max_lag_time FROM evt_consumers", on: deployment.active)[0]
            }
            #expect(try await set("--max-lag", "1000").text == "the maximum lag of local:APP is 1000 events\n")
            #expect(try await stored() == ["1000", nil])
            #expect(try await set("--max-lag", "2h").text == "the maximum lag of local:APP is 2h\n")
            #expect(try await stored() == [nil, "02:00:00"])
            let none = try await set("--max-lag", "none")
            #expect(none.text == "the maximum lag of local:APP is none: it holds back all events that it has not confirmed\n")
            #expect(try await stored() == ["999999999999999999", nil])
            #expect(try await deployment.evt("status", "--json").text.contains("\"max_lag\":\"none\""))
            try await TestDatabase.execute("UPDATE evt_queue_state SET max_lag = '90m'", on: deployment.active)
            #expect(
                try await set("--max-lag", "default").text == "the maximum lag of local:APP is as the discarder is set, 90m\n")
            #expect(try await stored() == [nil, nil])
            #expect(try await deployment.evt("status").text.contains("\nmax lag  90m: "))
            for wrong in [["--max-lag", "0"], ["--max-lag", "soon"], []] {
                let refused = try await ChildProcess.run(
                    "evt", ["consumers", "set", "APP"] + wrong, environment: deployment.environment)
                #expect(refused.status != 0 && refused.text.contains("--max-lag"), "\(refused.text)")
            }
            let unknown = try await deployment.evtAsOwner("consumers", "set", "NOBODY", "--max-lag", "5")
            #expect(unknown.status == 1 && unknown.text == "Error: there is no consumer local:NOBODY\n", "\(unknown.text)")
        }
    }

    @Test func anArchiversNameChangesInTheWarehouseToo() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            let discarder = try deployment.start("evt-discarder", [], ["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            var archiver = try deployment.start("evt-archiver")
            for number in 1...3 { try await deployment.record("ARCHIVED", "\(number)") }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            let busy = try await deployment.evtAsOwner("consumers", "rename", "ARCHIVER", "KEEPER")
            #expect(busy.status == 1 && busy.text.contains("is at work"), "\(busy.text)")
            // A session that is taken from it does not take the position in the warehouse from it.
            let forced = try await deployment.evtAsOwner("consumers", "rename", "--force", "ARCHIVER", "KEEPER")
            #expect(forced.status == 1 && forced.text.contains("is at work in the warehouse (pid "), "\(forced.text)")
            #expect(try await archiver.terminate().status == 0)
            var alone = deployment.environment
            alone["EVT_ARCHIVE_URL"] = nil
            let refused = try await ChildProcess.run("evt", ["consumers", "rename", "ARCHIVER", "KEEPER"], environment: alone)
            #expect(
                refused.status == 1 && refused.text.contains("EVT_ARCHIVE_URL") && refused.text.contains("--leave-archive"),
                "\(refused.text)")
            let renamed = try await deployment.evtAsOwner("consumers", "rename", "ARCHIVER", "KEEPER")
            #expect(renamed.status == 0 && renamed.text.contains("in the warehouse, too"), "\(renamed.text)")
            archiver = try deployment.start("evt-archiver", [], ["EVT_ARCHIVER_COMPONENT": "KEEPER"])
            try await deployment.record("ARCHIVED", "4")
            try await eventually("the archive") { try await deployment.archived() == 4 }
            let verified = try await deployment.evt("archive", "verify", "--archiver-component", "KEEPER")
            #expect(verified.text == "4 events verified, 0 findings\n", "\(verified.text)")
            for process in [archiver, discarder, pusher] { #expect(try await process.terminate().status == 0) }
            let removed = try await deployment.evtAsOwner("consumers", "remove", "KEEPER")
            #expect(
                removed.text.contains("in the warehouse stay its position 4 in public.evt_history_positions"), "\(removed.text)")
        }
    }

    @Test func statusAgreesWithTheTables() async throws {
        struct Status: Decodable {
            struct Consumer: Decodable {
                let consumer: String
                let position: Int
                let lag: Int
                let lag_seconds: Double
                let last_seen: String
                let served: Bool
            }
            let head: Int
            let backlog: Int
            let backlog_bytes: Int
            let consumers: [Consumer]
        }
        try await Deployment.with { deployment in
            for number in 1...7 { try await deployment.record("S", "\(number)") }
            _ = try await deployment.evtAsOwner("consumers", "register", "A")
            _ = try await deployment.evtAsOwner("consumers", "set", "A", "4")
            let json = try await deployment.evt("status", "--json")
            let status = try JSONDecoder().decode(Status.self, from: Data(json.text.utf8))
            #expect(status.head == 7)
            #expect(status.backlog == 7)
            #expect(status.backlog_bytes == 7)
            try #require(status.consumers.map(\.consumer) == ["local:A"])
            #expect(status.consumers[0].position == 4)
            #expect(status.consumers[0].lag == 3)
            #expect(!status.consumers[0].served)
            let page = try await deployment.evt("status")
            #expect(page.text.contains("head     7") && page.text.contains("local:A"))
        }
    }

    @Test func `status names the transaction that holds the stream back`() async throws {
        try await Deployment.with { deployment in
            try await TestDatabase.connected(to: deployment.active + " application_name=slowpoke") { connection in
                try await connection.query("BEGIN")
                try await connection.query("SELECT evt_add('OPEN', '1')")
                try await eventually("its name") { try await deployment.evt("status").text.contains("slowpoke") }
                try await connection.query("ROLLBACK")
            }
        }
    }

    @Test func helpIsThereForEverything() async throws {
        for arguments in [
            [], ["migrate"], ["add"], ["tail"], ["poll"], ["consumers"], ["consumers", "set"], ["status"], ["serve"],
        ] {
            let help = try await ChildProcess.run("evt", arguments + ["--help"])
            #expect(help.status == 0 && help.text.contains("USAGE"))
        }
        for role in Deployment.roles {
            let help = try await ChildProcess.run(role, ["--help"])
            #expect(help.status == 0 && help.text.contains("EVT_"))
        }
    }
}
