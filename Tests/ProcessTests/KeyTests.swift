import EventStream
import Foundation
import TestSupport
import Testing

/// The programs with keys: making them, using them, and what is said when they do not fit.
@Suite(.serialized) struct KeyTests {
    /// Keys of a deployment: the server's, and one for each user.
    private struct Keys {
        let deployment: Deployment
        var authorized: String { "\(deployment.directory)/authorized_keys" }
        func secret(_ name: String) -> String { "\(deployment.directory)/\(name).key_secret" }

        var server: [String: String] { ["EVT_CURVE_KEY": secret("server"), "EVT_AUTHORIZED_KEYS": authorized] }
        func client(_ name: String, server: String = "server") -> [String: String] {
            ["EVT_CURVE_KEY": secret(name), "EVT_SERVER_KEY": "\(deployment.directory)/\(server).key"]
        }

        /// Makes a pair, and returns the beginning of the user's line.
        func make(_ name: String) async throws -> String {
            let made = try await deployment.evt("keygen", name, "--directory", deployment.directory)
            #expect(made.status == 0, "\(made.text)")
            return String(made.text.split(separator: "\n").first { $0.hasPrefix("\(name)  ") } ?? "")
        }

        func authorize(_ users: [(String, String)]) async throws {
            _ = try await make("server")
            var lines = ""
            for (user, rights) in users { lines += try await make(user) + "  \(rights)\n" }
            try Data(lines.utf8).write(to: URL(filePath: authorized))
        }

        func evt(_ user: String, server: String = "server", _ arguments: String...) async throws -> ChildProcess.Output {
            try await ChildProcess.run(
                "evt", arguments, environment: deployment.environment.merging(client(user, server: server)) { $1 })
        }
    }

    @Test func keygenWritesAPairForItsOwnerAndNeverOverOne() async throws {
        try await ScratchDirectory.with { directory in
            let made = try await ChildProcess.run("evt", ["keygen", "shop", "--directory", directory])
            #expect(made.status == 0)
            let secret = try CurveCertificate(decoding: [UInt8](Data(contentsOf: URL(filePath: "\(directory)/shop.key_secret"))))
            let open = try CurveCertificate(decoding: [UInt8](Data(contentsOf: URL(filePath: "\(directory)/shop.key"))))
            #expect(secret.secretKey != nil && open.secretKey == nil && secret.publicKey == open.publicKey)
            #expect(made.text.contains("shop  \(open.publicKey.z85)\n"))
            #expect(!made.text.contains(secret.secretKey!.z85))
            let mode = try FileManager.default.attributesOfItem(atPath: "\(directory)/shop.key_secret")[.posixPermissions]
            #expect(mode as? Int == 0o600)
            let again = try await ChildProcess.run("evt", ["keygen", "shop", "--directory", directory])
            #expect(again.status != 0 && again.text.contains("a key is not overwritten"))
            #expect(
                try CurveCertificate(decoding: [UInt8](Data(contentsOf: URL(filePath: "\(directory)/shop.key_secret")))) == secret
            )
            for name in ["", ".x", "a/b"] {
                #expect(try await ChildProcess.run("evt", ["keygen", name, "--directory", directory]).status != 0)
            }
            let nowhere = try await ChildProcess.run("evt", ["keygen", "x", "--directory", "\(directory)/nowhere"])
            #expect(nowhere.status != 0 && nowhere.text.contains("cannot be written"))
        }
    }

    @Test func aPipelineWithKeysRecordsDeliversArchivesAndDiscards() async throws {
        try await Deployment.with { deployment in
            let keys = Keys(deployment: deployment)
            try await keys.authorize([
                ("source", "gen types=ORDER,REFUND"), ("archive", "push poll components=ARCHIVER"),
                ("billing", "push live types=ORDER"),
            ])
            try await deployment.noteTruth()
            // Before that nothing is kept for it.
            try await deployment.register("billing:BILLING")
            let archiver = ["EVT_ARCHIVER_COMPONENT": "archive:ARCHIVER", "EVT_DISCARD_REQUIRE": "archive:ARCHIVER"]
            let processes = [
                "evt-generator": try deployment.start("evt-generator", [], keys.server),
                "evt-pusher": try deployment.start("evt-pusher", [], keys.server),
                "evt-archiver": try deployment.start("evt-archiver", [], keys.client("archive").merging(archiver) { $1 }),
                "evt-discarder": try deployment.start("evt-discarder", [], archiver),
            ]
            let tail = try deployment.start(
                "evt", ["tail", "--component", "BILLING", "--count", "10"], keys.client("billing"))
            try await processes["evt-generator"]!.serves()
            for number in 1...10 {
                for type in ["REFUND", "ORDER"] {
                    let added = try await keys.evt("source", "add", type, "\(number)")
                    #expect(added.status == 0, "\(added.text)")
                }
            }
            let received = try await tail.ended()
            #expect(received.status == 0 && received.text.components(separatedBy: "\"type\":\"ORDER\"").count == 11)
            #expect(!received.text.contains("REFUND"))
            try await deployment.checkArchive()
            // What billing may not see passes it by; the rest it has confirmed.
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            let refused = try await keys.evt("source", "add", "SALARY", "1")
            #expect(refused.status != 0 && refused.text.contains("Unauthorized"))
            // No right to it, and trying again would not help.
            for arguments in [["tail"], ["tail", "--component", "OTHER"]] {
                let ended = try await ChildProcess.run(
                    "evt", arguments, environment: deployment.environment.merging(keys.client("source")) { $1 })
                #expect(ended.status == 1 && ended.text.contains("Unauthorized"), "\(ended.text)")
            }
            try await processes.stop()
            for process in processes.values {
                for name in ["server", "source", "archive", "billing"] {
                    let certificate = try CurveCertificate(decoding: [UInt8](Data(contentsOf: URL(filePath: keys.secret(name)))))
                    #expect(!process.output.contains(certificate.secretKey!.z85))
                }
            }
        }
    }

    @Test func aClientThatIsRefusedIsToldWhatMayBeWrong() async throws {
        try await Deployment.with { deployment in
            let keys = Keys(deployment: deployment)
            try await keys.authorize([("reader", "push")])
            _ = try await keys.make("stranger")
            let pusher = try deployment.start("evt-pusher", [], keys.server)
            for settings in [keys.client("stranger"), keys.client("reader", server: "stranger"), [:]] {
                let tail = try deployment.start("evt", ["tail", "--component", "X"], settings)
                let words = settings.isEmpty ? "does not speak with peers without keys" : "refuses: is EVT_SERVER_KEY"
                try await eventually("a word about keys: \(tail.output)") { tail.output.contains(words) }
                tail.signal(SIGKILL)
                _ = try await tail.ended()
            }
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func aServerWithoutKeysTellsAClientWithThem() async throws {
        try await Deployment.with { deployment in
            let keys = Keys(deployment: deployment)
            try await keys.authorize([("reader", "push")])
            let pusher = try deployment.start("evt-pusher")
            let tail = try deployment.start("evt", ["tail", "--component", "X"], keys.client("reader"))
            try await eventually("a word about keys") { tail.output.contains("refuses: is EVT_SERVER_KEY") }
            tail.signal(SIGKILL)
            _ = try await tail.ended()
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test(arguments: [nil, "660"]) func ipcSocketsAreForTheirOwnerUnlessToldOtherwise(_ mode: String?) async throws {
        try await Deployment.with { deployment in
            let settings = mode.map { ["EVT_IPC_MODE": $0] } ?? [:]
            let processes = [
                "evt-generator": try deployment.start("evt-generator", [], settings),
                "evt-pusher": try deployment.start("evt-pusher", [], settings),
            ]
            for name in ["gen", "push", "live"] {
                let path = "\(deployment.directory)/\(name)"
                try await eventually("the socket") { FileManager.default.fileExists(atPath: path) }
                let found = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                #expect(found == Int(mode ?? "600", radix: 8), "\(name)")
            }
            try await eventually("a database") { processes.values.allSatisfy { $0.output.contains("connected to the database") } }
            try await processes.stop()
        }
    }

    @Test func withoutKeysAnAddressOthersCanReachIsRefused() async throws {
        try await Deployment.with { deployment in
            for (program, setting) in [
                ("evt-generator", "EVT_GENERATOR_BIND"), ("evt-pusher", "EVT_PUSHER_BIND"), ("evt-pusher", "EVT_LIVE_BIND"),
            ] {
                let refused = try await deployment.start(program, [], [setting: "tcp://0.0.0.0:0"]).ended()
                #expect(refused.status != 0)
                #expect(
                    refused.text.contains("\(setting): tcp://0.0.0.0:0 can be reached from other machines"), "\(refused.text)")
                #expect(refused.text.contains("EVT_CURVE_KEY and EVT_AUTHORIZED_KEYS"))
            }
        }
    }

    @Test func aHangupDoesNotEndAProcess() async throws {
        try await Deployment.with { deployment in
            let processes = try deployment.startRoles()
            try await processes.haveStarted()
            for process in processes.values { process.signal(SIGHUP) }
            try await deployment.record("AFTER")
            try await eventually("the archive") { try await deployment.archived() == 1 }
            try await processes.stop()
        }
    }
}
