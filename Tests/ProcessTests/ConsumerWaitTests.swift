import TestSupport
import Testing

/// `evt consumers wait`.
@Suite(.serialized) struct ConsumerWaitTests {
    @Test func waitingEndsWhenThePositionIsReachedAndFailsWhenItIsNot() async throws {
        try await Deployment.with { deployment in
            try await deployment.register("APP")
            for number in 1...3 { try await deployment.record("W", "\(number)") }
            let waiting = try deployment.start("evt", ["consumers", "wait", "APP", "--timeout", "5m"])
            let further = try deployment.start("evt", ["consumers", "wait", "local:APP", "--through", "4"])
            try await deployment.eventuallyConnected(2)
            try waiting.checkRunning()
            // The newest event is that of the beginning.
            try await deployment.record("W", "4")
            _ = try await deployment.evtAsOwner("consumers", "set", "APP", "--to", "3")
            let reached = try await waiting.ended()
            #expect(reached.status == 0 && reached.text == "local:APP is at 3\n", "\(reached.text)")
            try further.checkRunning()
            _ = try await deployment.evtAsOwner("consumers", "set", "APP", "--to", "4")
            #expect(try await further.ended().text == "local:APP is at 4\n")

            #expect(try await deployment.evt("consumers", "wait", "APP", "--through", "2").text == "local:APP is at 4\n")
            let late = try await deployment.evt("consumers", "wait", "APP", "--through", "5", "--timeout", "300ms")
            #expect(
                late.status == 1 && late.text == "Error: local:APP is at 4 and has not reached 5 within 300ms\n", "\(late.text)")
            let unknown = try await deployment.evt("consumers", "wait", "NOBODY")
            #expect(unknown.status == 1 && unknown.text == "Error: there is no consumer local:NOBODY\n", "\(unknown.text)")
            for arguments in [["--through", "x"], ["--timeout", "5"], ["--timeout", "8d"]] {
                let wrong = try await deployment.start("evt", ["consumers", "wait", "APP"] + arguments).ended()
                #expect(wrong.status == 64, "\(wrong.text)")
            }
        }
    }

    @Test func waitingEndsWhenTheConsumerOrTheConnectionIsGone() async throws {
        try await Deployment.with { deployment in
            for name in ["REMOVED", "CUT"] { try await deployment.register(name) }
            let removed = try deployment.start("evt", ["consumers", "wait", "REMOVED", "--through", "1"])
            let cut = try deployment.start("evt", ["consumers", "wait", "CUT", "--through", "1"])
            try await deployment.eventuallyConnected(2)
            _ = try await deployment.evtAsOwner("consumers", "remove", "REMOVED")
            let end = try await removed.ended()
            #expect(end.status == 1 && end.text == "Error: there is no consumer local:REMOVED\n", "\(end.text)")
            try await TestDatabase.execute(
                "SELECT pg_terminate_backend(pid) \(Deployment.commands)", on: deployment.active)
            let lost = try await cut.ended()
            #expect(
                lost.status == 1
                    && lost.text.hasPrefix("Error: lost the connection to the database while waiting for local:CUT: "),
                "\(lost.text)")
        }
    }
}

extension Deployment {
    /// The operator's commands that are connected.
    fileprivate static let commands = "FROM pg_stat_activity WHERE application_name = 'evt' AND datname = current_database()"

    fileprivate func eventuallyConnected(_ count: Int) async throws {
        try await eventually("\(count) connections") {
            try await TestDatabase.number(
                "SELECT count(*) \(Deployment.commands) AND state = 'idle' AND query LIKE 'SELECT min(last_evt_id)%'", on: active)
                == count
        }
    }
}
