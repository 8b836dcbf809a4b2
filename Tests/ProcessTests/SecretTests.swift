import Foundation
import Glibc
import TestSupport
import Testing

/// A database's password is nowhere to be seen, wherever it was given and whatever is wrong with it.
@Suite(.serialized) struct SecretTests {
    /// Every kind of character that means something somewhere; none of its parts may be seen.
    private static let password = #"zq1 'wx2"\vk3@jy4/uh5:gf6?ib7#%25&=ö$;nm8"#
    private static let parts = ["zq1", "wx2", "vk3", "jy4", "uh5", "gf6", "ib7", "nm8"]

    private struct World {
        let cluster: PrivateCluster
        let directory: String
        /// Settings without a database.
        let environment: [String: String]
        var place: String { "127.0.0.1:\(cluster.port)/postgres" }
        var keywords: String { "host=127.0.0.1 port=\(cluster.port) dbname=postgres user=keeper" }

        func file(_ name: String, _ text: String) throws -> String {
            let path = "\(directory)/\(name)"
            try Data(text.utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
            return path
        }
    }

    /// A cluster that asks the role `keeper`, which may be every process, for its password.
    private func with(_ body: (World) async throws -> Void) async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with { cluster in
                let deployment = Deployment(active: cluster.url, warehouse: cluster.url, directory: directory)
                try await deployment.migrate()
                try await TestDatabase.execute(
                    "CREATE ROLE keeper LOGIN IN ROLE evt_generator, evt_pusher, evt_archiver, evt_discarder, evt_monitor",
                    on: cluster.url)
                try await Self.set(Self.password, in: cluster)
                let rules = "host all keeper 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
                try Data(rules.utf8).write(to: URL(filePath: "\(cluster.data)/pg_hba.conf"))
                try await TestDatabase.execute("SELECT pg_reload_conf()", on: cluster.url)
                var environment = deployment.environment
                for name in ["EVT_DATABASE_URL", "EVT_ARCHIVE_URL"] { environment[name] = nil }
                environment["EVT_LOG_LEVEL"] = "trace"
                environment["EVT_DISCARD_REQUIRE"] = "ARCHIVER"
                try await body(World(cluster: cluster, directory: directory, environment: environment))
            }
        }
    }

    private static func set(_ password: String, in cluster: PrivateCluster) async throws {
        let literal = "E'" + password.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
        try await TestDatabase.execute("ALTER ROLE keeper PASSWORD \(literal)", on: cluster.url)
    }

    private static func both(_ suffix: String, _ value: String) -> [String: String] {
        ["EVT_DATABASE_URL\(suffix)": value, "EVT_ARCHIVE_URL\(suffix)": value]
    }

    private typealias Way = (name: String, settings: [String: String])

    /// Every way to give the password, as it must be written there.
    private func ways(_ world: World) throws -> [Way] {
        let quoted = Self.password.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
        let encoded = Self.password.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        let keywords = "\(world.keywords) password='\(quoted)'"
        let uri = "postgresql://keeper:\(encoded)@\(world.place)"
        let escaped = Self.password.replacing("\\", with: "\\\\").replacing(":", with: "\\:")
        let passfile = try world.file("pgpass", "*:*:*:keeper:\(escaped)\n")
        let settings = try world.file("settings", Self.both("", uri).map { "\($0.key)=\($0.value)\n" }.joined())
        return [
            ("keywords", Self.both("", keywords)), ("URI", Self.both("", uri)),
            ("query", Self.both("", "postgresql://\(world.place)?user=keeper&password=\(encoded)")),
            ("file with keywords", Self.both("_FILE", try world.file("keywords", keywords + "\n"))),
            ("file with a URI", Self.both("_FILE", try world.file("uri", uri))),
            ("settings", ["EVT_ENV_FILE": settings]),
            ("PGPASSFILE", Self.both("", world.keywords).merging(["PGPASSFILE": passfile]) { $1 }),
            ("PGPASSWORD", Self.both("", world.keywords).merging(["PGPASSWORD": Self.password]) { $1 }),
        ]
    }

    /// The password written wrongly, and in the wrong place.
    private func mistakes(_ world: World) throws -> (written: [Way], misplaced: [Way]) {
        let raw = Self.password
        let written = [
            "\(world.keywords) password=\(raw)", "\(world.keywords) password='\(raw)'", "\(world.keywords) password='zq1",
            "postgresql://keeper:\(raw)@\(world.place)", "postgresql://keeper:zq1@wx2@\(world.place)",
            "postgresql://keeper:zq1/wx2@\(world.place)", "postgresql://keeper:zq1%wx2@\(world.place)",
            "postgresql://keeper:zq1/?host=wx2@\(world.place)", "postgresql://zq1:wx2",
            "postgresql://keeper:zq1@127.0.0.1:wx2/db",
            "dbname=postgresql://keeper:zq1@\(world.place)", "zq1", "password zq1",
        ]
        let uri = "postgresql://keeper:zq1@\(world.place)"
        let misplaced = [
            "EVT_EVENT_TABLE", "EVT_CONSUMER_TABLE", "EVT_HISTORY_TABLE", "EVT_DISCARD_REQUIRE", "EVT_ARCHIVER_COMPONENT",
            "EVT_ARCHIVER_WANT", "EVT_GENERATOR_BIND", "EVT_PUSHER_BIND", "EVT_LIVE_BIND", "EVT_PUSHER_CONNECT",
            "EVT_ACK_TIMEOUT",
            "EVT_QUEUE_MAX", "EVT_ALLOW_POLLING", "EVT_LOG_LEVEL", "EVT_LOG_FORMAT",
        ]
        return (
            try written.enumerated().map { number, text in
                number % 2 == 0
                    ? ("written as \(text)", Self.both("", text))
                    : ("a file with \(text)", Self.both("_FILE", try world.file("mistake-\(number)", text)))
            },
            misplaced.flatMap { name in
                [uri, "ARCHIVER@\(uri)"].map { value in
                    ("\(name) is \(value)", Self.both("", world.keywords).merging([name: value]) { $1 })
                }
            }
        )
    }

    private func expectSecret(_ text: String, _ where: String) {
        for part in Self.parts { #expect(!text.contains(part), "\(`where`): \(text.prefix(2000))") }
    }

    private static let services = Deployment.roles.map { ($0, []) } + [("evt", ["serve"])]
    private static let commands = [
        ["status"], ["consumers"], ["consumers", "register", "LATE"], ["generation"], ["history"], ["archive", "verify"],
        ["archive", "rewind", "0"], ["migrate"], ["migrate", "--roles"], ["migrate", "--print"],
    ]

    /// Runs every program, each until it has a database or has said something, and looks at all that others can see of it.
    private func runAll(
        _ way: Way, _ world: World, services: [(String, [String])] = services, commands: [[String]] = commands,
        loads: [[String]] = [["bank"], ["mix"]],
        until isDone: (ChildProcess) async throws -> Bool
    ) async throws {
        let environment = world.environment.merging(way.settings) { $1 }
        for (program, arguments) in services {
            let process = try ChildProcess(program, arguments, environment: environment)
            let name = "\(program) \(arguments.joined()), \(way.name)"
            try await eventually("something of \(name)") {
                // While it runs, whenever that is.
                expectSecret(process.commandLine, name)
                guard process.isRunning else { return true }
                return try await isDone(process)
            }
            let visible = try await TestDatabase.rows("SELECT a::text FROM pg_stat_activity a", on: world.cluster.url)
            expectSecret(visible.compactMap { $0[0] }.joined(separator: "\n"), "pg_stat_activity, \(name)")
            expectSecret(try await process.terminate().text, name)
        }
        for arguments in commands {
            let end = try await ChildProcess.run("evt", arguments, environment: environment)
            expectSecret(end.text, "evt \(arguments.joined(separator: " ")), \(way.name)")
        }
        for arguments in loads {
            // It refuses what it would have to give to others on their command line, or lacks the rights to make tables.
            let end = try await ChildProcess.run("evt-load", arguments + ["--seconds", "1"], environment: environment)
            expectSecret(end.text, "evt-load \(arguments), \(way.name)")
        }
    }

    @Test func aPasswordThatIsRightIsNotSeen() async throws {
        try await with { world in
            for way in try ways(world) {
                try await runAll(way, world) { process in
                    let mine = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'keeper'"
                    return try await TestDatabase.number(mine, on: world.cluster.url) > 0
                }
                let status = try await ChildProcess.run(
                    "evt", ["status"], environment: world.environment.merging(way.settings) { $1 })
                #expect(status.status == 0, "\(way.name): \(status.text)")
            }
        }
    }

    @Test func aPasswordThatIsWrongIsNotSeen() async throws {
        try await with { world in
            try await Self.set("another", in: world.cluster)
            for way in try ways(world) {
                try await runAll(way, world) { $0.output.contains("password authentication failed") }
            }
        }
    }

    @Test func aPasswordWhereItDoesNotBelongIsNotSeen() async throws {
        try await with { world in
            let (written, misplaced) = try mistakes(world)
            func hasSpoken(_ process: ChildProcess) -> Bool {
                process.output.contains("trying again") || process.output.contains("INFO")
            }
            for mistake in written { try await runAll(mistake, world) { hasSpoken($0) } }
            for mistake in misplaced {
                // One process reads all settings.
                try await runAll(mistake, world, services: [("evt", ["serve"])], commands: [["archive", "verify"]], loads: []) {
                    hasSpoken($0)
                }
            }
        }
    }

    @Test(arguments: [
        "host=h password=zq1", "host=h password = zq1", "host=h password\t=\t'zq1'", "host=h sslpassword=zq1",
        "postgresql://u:zq1@h/d",
        "postgresql://u:zq1@wx2@h/d", "postgresql://h/d?password=zq1", "postgresql://h/d?pass%77ord=zq1", "postgres://:zq1@/",
        "host=h password='zq1",
    ]) func onTheCommandLineItIsRefused(_ url: String) async throws {
        let commands = [("evt", ["status"]), ("evt", ["migrate"]), ("evt", ["inbox"]), ("evt-load", ["mix"])]
        for (program, arguments) in Self.services + commands {
            let flag = arguments == ["inbox"] ? "--url" : program == "evt-archiver" ? "--archive-url" : "--database-url"
            let end = try await ChildProcess.run(program, arguments + [flag, url])
            #expect(end.status != 0 && end.text.contains("everyone on this machine can read the password there"), "\(end.text)")
            expectSecret(end.text, program)
        }
    }
}

extension ChildProcess {
    /// What everybody on this machine can read.
    fileprivate var commandLine: String { (try? String(contentsOfFile: "/proc/\(id)/cmdline", encoding: .utf8)) ?? "" }
}
