import Foundation
import TestSupport
import Testing

/// TLS to PostgreSQL, by libpq's own settings in the connection string.
@Suite(.serialized) struct TLSTests {
    /// A cluster that takes nothing but TLS, the pipeline over a proxy that keeps what is sent, and a file for the CA.
    private struct World {
        let cluster: PrivateCluster
        let deployment: Deployment
        let proxy: Proxy
        let certificates: Certificates
        let authority: Certificates.Pair
        /// The processes trust the authority in this file.
        let trusted: String

        func trust(_ authority: Certificates.Pair) throws {
            try Data(contentsOf: URL(filePath: authority.certificate)).write(to: URL(filePath: trusted), options: .atomic)
        }
    }

    /// - Parameter host: what the processes believe the server is called; it is `localhost` in its certificate.
    private func with(host: String = "localhost", _ body: (World) async throws -> Void) async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with { cluster in
                let certificates = Certificates(directory: directory)
                let authority = try await certificates.authority("ca")
                try await Deployment(active: cluster.url, warehouse: cluster.url, directory: directory).migrate()
                try await cluster.requireTLS(certificates.server(at: "localhost", by: authority))
                let proxy = try Proxy(to: cluster.port, records: true)
                let trusted = "\(directory)/root.crt"
                let url =
                    "host=\(host) hostaddr=127.0.0.1 port=\(proxy.port) user=postgres dbname=postgres sslmode=verify-full "
                    + "sslrootcert=\(trusted)"
                try await body(
                    World(
                        cluster: cluster, deployment: Deployment(active: url, warehouse: url, directory: directory), proxy: proxy,
                        certificates: certificates, authority: authority, trusted: trusted))
            }
        }
    }

    /// The first thing a client sends: it asks for TLS (PostgreSQL manual, "Message Formats", SSLRequest).
    private static let request: [UInt8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F]

    /// Every connection began with the question for TLS, and nothing readable came after that.
    private func expectNothingInClear(_ proxy: Proxy) {
        let sent = proxy.sent.filter { !$0.isEmpty }
        #expect(!sent.isEmpty)
        for bytes in sent {
            #expect(bytes.starts(with: Self.request))
            // A record of TLS follows, if anything: type 22, handshake, or 21, alert.
            #expect(bytes.count == Self.request.count || [22, 21].contains(bytes[Self.request.count]))
            let text = String(decoding: bytes, as: UTF8.self)
            for word in ["evt_test", "evt-", "client_encoding", "postgres"] { #expect(!text.contains(word)) }
        }
    }

    private func connections(_ cluster: PrivateCluster) async throws -> Int {
        try await TestDatabase.number("SELECT count(*) FROM pg_stat_activity WHERE usename ~ '^evt_test_'", on: cluster.url)
    }

    private func expectService(_ world: World, of processes: [String: ChildProcess]) async throws {
        let deployment = world.deployment
        try await eventually("the generator") { try await deployment.evt("add", "SECRET", "\"evt-secret\"").status == 0 }
        try await eventually("the archive") { try await deployment.archived() > 0 }
        try await eventually("the discard") { try await deployment.backlog() == 0 }
        for command in [["status"], ["consumers"], ["history"], ["archive", "verify"], ["generation"]] {
            let end = try await deployment.start("evt", command).ended()
            #expect(end.status == 0, "\(command) \(end.text)")
        }
        let plain = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename ~ '^evt_test_' AND NOT ssl"
        #expect(try await TestDatabase.number(plain, on: world.cluster.url) == 0)
        #expect(try await connections(world.cluster) >= 4)
        try await processes.stop()
        expectNothingInClear(world.proxy)
    }

    @Test func everyProcessWorksOverTLS() async throws {
        try await with { world in
            try world.trust(world.authority)
            let processes = try world.deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await expectService(world, of: processes)
        }
    }

    @Test func aServerThatCannotBeTrustedGetsNothingUntilItCan() async throws {
        try await with { world in
            try await world.trust(world.certificates.authority("other"))
            try await refused("certificate verify failed", world) { try world.trust(world.authority) }
        }
    }

    @Test func aServerOfAnotherNameGetsNothingUntilItHasIt() async throws {
        try await with(host: "db.example") { world in
            try world.trust(world.authority)
            try await refused("does not match host name \"db.example\"", world) {
                try await world.cluster.requireTLS(world.certificates.server(at: "db.example", by: world.authority))
            }
        }
    }

    @Test func aServerWithoutTLSGetsNothing() async throws {
        try await with { world in
            try world.trust(world.authority)
            try await TestDatabase.execute("ALTER SYSTEM SET ssl = off", on: world.cluster.url)
            try await TestDatabase.execute("SELECT pg_reload_conf()", on: world.cluster.url)
            try await refused("server does not support SSL", world) {
                // Nobody gets in to ask for it.
                try await world.cluster.kill()
                let settings = URL(filePath: "\(world.cluster.data)/postgresql.auto.conf")
                let text = try String(contentsOf: settings, encoding: .utf8).replacing("ssl = 'off'", with: "ssl = 'on'")
                try Data(text.utf8).write(to: settings)
                try await world.cluster.start()
            }
        }
    }

    /// - Parameter correct: puts it right.
    private func refused(_ words: String, _ world: World, correct: () async throws -> Void) async throws {
        let processes = try world.deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
        // The archiver's warehouse is asked for at once, too.
        for (name, process) in processes {
            // Quotes are escaped in a log.
            try await eventually("a word of \(name)") { process.output.replacing("\\\"", with: "\"").contains(words) }
            #expect(process.output.contains("trying again"), "\(process.output)")
        }
        for command in [["status"], ["history"]] {
            let end = try await world.deployment.start("evt", command).ended()
            #expect(end.status != 0 && end.text.contains(words), "\(end.text)")
        }
        #expect(await !world.cluster.log.contains("connection authorized: user=evt_test_"))
        expectNothingInClear(world.proxy)
        try await correct()
        try await expectService(world, of: processes)
    }
}
