import Foundation
import TestSupport
import Testing

/// Passwords are rotated while everything runs.
@Suite(.serialized) struct RotationTests {
    private static let sessions =
        "SELECT count(DISTINCT split_part(application_name, ' ', 1)) FROM pg_stat_activity WHERE usename = 'keeper'"

    @Test func allProcessesComeBackWithAPasswordThatWasRotatedInItsFile() async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with { cluster in
                let deployment = Deployment(active: cluster.url, warehouse: cluster.url, directory: directory)
                try await deployment.migrate()
                try await TestDatabase.execute(
                    "CREATE ROLE keeper LOGIN IN ROLE evt_generator, evt_pusher, evt_archiver, evt_discarder, evt_monitor",
                    on: cluster.url)
                try await TestDatabase.execute("ALTER ROLE keeper PASSWORD 'first s3cret'", on: cluster.url)
                let rules = "host all keeper 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
                try Data(rules.utf8).write(to: URL(filePath: "\(cluster.data)/pg_hba.conf"))
                try await TestDatabase.execute("SELECT pg_reload_conf()", on: cluster.url)

                let file = "\(directory)/url"
                func write(_ password: String) throws {
                    let text = "host=127.0.0.1 port=\(cluster.port) dbname=postgres user=keeper password='\(password)'\n"
                    try Data(text.utf8).write(to: URL(filePath: file))
                }
                try write("first s3cret")
                var environment = deployment.environment
                for name in ["EVT_DATABASE_URL", "EVT_ARCHIVE_URL"] {
                    environment[name] = nil
                    environment["\(name)_FILE"] = file
                }
                environment["EVT_DISCARD_REQUIRE"] = "ARCHIVER"
                environment["EVT_LOG_LEVEL"] = "trace"
                let processes = try Deployment.roles.reduce(into: [String: ChildProcess]()) {
                    $0[$1] = try ChildProcess($1, environment: environment)
                }
                func works(_ when: String) async throws {
                    let id = try await deployment.record("ROTATED")
                    try await eventually("an event in the archive \(when)", within: .seconds(120)) {
                        try await TestDatabase.number("SELECT count(*) FROM evt_history WHERE id = \(id)", on: cluster.url) == 1
                    }
                    try await eventually("all four \(when)", within: .seconds(120)) {
                        try await TestDatabase.number(Self.sessions, on: cluster.url) == 4
                    }
                    try await eventually("the discarding \(when)", within: .seconds(120)) { try await deployment.backlog() == 0 }
                    let added = try await ChildProcess.run("evt", ["add", "ADDED"], environment: environment)
                    #expect(added.status == 0, "\(added.text)")
                }
                func end() async throws {
                    try await TestDatabase.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'", on: cluster.url)
                }
                try await works("at first")

                try await TestDatabase.execute("ALTER ROLE keeper PASSWORD 'second s3cret'", on: cluster.url)
                try await end()
                // Until somebody has written the new one, everybody is refused; and for a moment there is none.
                for (name, process) in processes where name != "evt-archiver" {
                    try await eventually("\(name) to be refused") { process.output.contains("password authentication failed") }
                }
                try Data().write(to: URL(filePath: file))
                for (name, process) in processes where name != "evt-archiver" {
                    try await eventually("\(name) to tell of the empty file") { process.output.contains("\(file) is empty") }
                }
                try write("second s3cret")
                try await works("with the second password")

                // Another file in its place, as a secret that is mounted gets it.
                try await TestDatabase.execute("ALTER ROLE keeper PASSWORD 'third s3cret'", on: cluster.url)
                try FileManager.default.removeItem(atPath: file)
                try write("third s3cret")
                try await end()
                try await works("with the third password")

                try await processes.stop()
                for (name, process) in processes { #expect(!process.output.contains("s3cret"), "\(name)") }
            }
        }
    }
}
