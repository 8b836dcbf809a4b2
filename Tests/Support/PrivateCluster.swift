import Foundation
import Glibc

/// A PostgreSQL cluster of a test's own, whose server may be killed and started again.
package actor PrivateCluster {
    /// A connection string, for a superuser.
    package nonisolated let url: String
    /// The directory of the data.
    package nonisolated let data: String
    private nonisolated let faults: Faults?
    package nonisolated let port: UInt16
    package nonisolated let programs: String
    private var server: ChildProcess?

    /// Of a database in the cluster.
    package nonisolated func url(of database: String) -> String { "\(url) dbname=\(database)" }

    /// Makes a cluster and starts it, runs `body`, and removes it.
    ///
    /// - Parameter scratch: a directory, if the server is to have faults.
    package static func with(faultsIn scratch: String? = nil, _ body: (PrivateCluster) async throws -> Void) async throws {
        let programs = try await ChildProcess.run("/usr/bin/env", ["pg_config", "--bindir"]).text
        let data = "/tmp/evt-cluster-\(UInt64.random(in: 0...UInt64.max))"
        var faults: Faults?
        // The log has a disk of its own: without room for it the server would end.
        if let scratch { faults = try await Faults(in: scratch, fillingUp: "\(data)/base") }
        let cluster = PrivateCluster(
            programs: programs.trimmingCharacters(in: .whitespacesAndNewlines), data: data, faults: faults)
        let outcome: Result<Void, any Error>
        do {
            try await cluster.make()
            try await cluster.start()
            outcome = .success(try await body(cluster))
        } catch {
            outcome = .failure(error)
        }
        try await cluster.remove()
        try outcome.get()
    }

    private init(programs: String, data: String, faults: Faults?) {
        self.programs = programs
        self.data = data
        self.faults = faults
        port = PrivateCluster.freePort()
        url = "host=127.0.0.1 port=\(port) user=postgres dbname=postgres"
    }

    private func make() async throws {
        try makeDirectory()
        let made = try await run(
            "initdb", "--no-sync", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"
        ).ended()
        guard made.status == 0 else { throw Failure(made.text) }
    }

    private func makeDirectory() throws {
        try FileManager.default.createDirectory(
            atPath: data, withIntermediateDirectories: false,
            attributes: getuid() == 0 ? [.posixPermissions: 0o700, .ownerAccountName: "postgres"] : [.posixPermissions: 0o700])
    }

    // MARK: TLS

    /// From now on takes connections only over TLS, with this certificate.
    package func requireTLS(_ certificate: Certificates.Pair) async throws {
        for (name, path) in [("server.crt", certificate.certificate), ("server.key", certificate.key)] {
            let place = "\(data)/\(name)"
            try Data(contentsOf: URL(filePath: path)).write(to: URL(filePath: place))
            let owner: [FileAttributeKey: Any] = getuid() == 0 ? [.ownerAccountName: "postgres"] : [:]
            try FileManager.default.setAttributes(owner.merging([.posixPermissions: 0o600]) { $1 }, ofItemAtPath: place)
        }
        try Data("hostssl all all 127.0.0.1/32 trust\n".utf8).write(to: URL(filePath: "\(data)/pg_hba.conf"))
        for sql in ["ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET log_connections = on", "SELECT pg_reload_conf()"] {
            try await TestDatabase.execute(sql, on: url)
        }
        try await eventually("TLS") {
            let mine = "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"
            guard try await TestDatabase.number(mine, on: url) == 1 else { return false }
            return (try? await TestDatabase.number("SELECT 1", on: "\(url) sslmode=disable")) == nil
        }
    }

    package var log: String { server?.output ?? "" }

    // MARK: A standby

    /// Makes a cluster and a streaming standby of it, runs `body`, and removes both.
    package static func withStandby(
        _ body: (_ primary: PrivateCluster, _ standby: PrivateCluster) async throws -> Void
    ) async throws {
        try await with { primary in
            let standby = PrivateCluster(programs: primary.programs, data: "\(primary.data)-standby", faults: nil)
            let outcome: Result<Void, any Error>
            do {
                try await standby.follow(primary.port)
                try await eventually("the standby's connection") {
                    try await TestDatabase.number("SELECT count(*) FROM pg_stat_replication", on: primary.url) == 1
                }
                outcome = .success(try await body(primary, standby))
            } catch {
                outcome = .failure(error)
            }
            try await standby.remove()
            try outcome.get()
        }
    }

    /// Runs `body` with a cluster that differs in nothing: a copy of the data, made while the server stands still.
    package func withClone(_ body: (PrivateCluster) async throws -> Void) async throws {
        let clone = PrivateCluster(programs: programs, data: "\(data)-clone", faults: nil)
        try await kill()
        let copied = try await ChildProcess.run("/bin/cp", ["-a", data, clone.data])
        guard copied.status == 0 else { throw Failure(copied.text) }
        let outcome: Result<Void, any Error>
        do {
            try await start()
            try await clone.start()
            outcome = .success(try await body(clone))
        } catch {
            outcome = .failure(error)
        }
        try await clone.remove()
        try outcome.get()
    }

    private func follow(_ port: UInt16) async throws {
        try makeDirectory()
        let copied = try await run(
            "pg_basebackup", "--no-sync", "-R", "-X", "stream", "-c", "fast", "-D", data, "-h", "127.0.0.1", "-p", "\(port)",
            "-U", "postgres"
        ).ended()
        guard copied.status == 0 else { throw Failure(copied.text) }
        try await start()
    }

    /// The standby gets nothing more; what it has, it keeps.
    package func stopFollowing() async throws {
        try await TestDatabase.execute("ALTER SYSTEM SET primary_conninfo = ''", on: url)
        try await TestDatabase.execute("SELECT pg_reload_conf()", on: url)
        try await eventually("the end of the stream to the standby") {
            try await TestDatabase.number("SELECT count(*) FROM pg_stat_wal_receiver", on: url) == 0
        }
    }

    /// Makes the standby a primary.
    package func promote() async throws { try await TestDatabase.execute("SELECT pg_promote()", on: url) }

    /// What a client gives to find whichever of the two is the primary.
    package static func url(of clusters: PrivateCluster...) -> String {
        let ports = clusters.map { "\($0.port)" }.joined(separator: ",")
        let hosts = clusters.map { _ in "127.0.0.1" }.joined(separator: ",")
        return "host=\(hosts) port=\(ports) user=postgres dbname=postgres target_session_attrs=read-write"
    }

    /// Starts the server, and waits until it serves; what a killed one has left behind does not matter.
    package func start() async throws {
        // What was written survives the end of any process; half a page that was being written does not.
        let server = try run(
            "postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=\(port)", "-c", "unix_socket_directories=",
            "-c", "fsync=off", "-c", "full_page_writes=on", "-c", "shared_buffers=16MB", "-c", "wal_keep_size=64MB", "-c",
            "max_connections=50")
        self.server = server
        try await eventually("the start of PostgreSQL") {
            guard server.isRunning else { throw Failure(server.output) }
            return (try? await TestDatabase.number("SELECT 1", on: url)) == 1
        }
    }

    package nonisolated func setFull(_ isFull: Bool) throws { try faults?.setFull(isFull) }
    package nonisolated func setClock(ahead seconds: Int64) throws { try faults?.setClock(ahead: seconds) }

    /// kill -9. The server's own children end by themselves then, each as soon as it waits for something.
    package func kill() async throws {
        server?.signal(SIGKILL)
        _ = try await server?.ended()
        server = nil
        try await eventually("the end of PostgreSQL's processes") { !isInUse }
    }

    private func remove() async throws {
        try await kill()
        try? FileManager.default.removeItem(atPath: data)
    }

    /// PostgreSQL's processes all work in the directory of the data.
    private var isInUse: Bool {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.contains { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\($0)/cwd")) == data }
    }

    /// Starts one of PostgreSQL's programs; they refuse to work as root.
    private func run(_ program: String, _ arguments: String...) throws -> ChildProcess {
        let user = getuid() == 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] : []
        let faults = program == "postgres" ? faults?.environment.map { "\($0.key)=\($0.value)" } ?? [] : []
        return try ChildProcess(
            "/usr/bin/env", ["--chdir=\(data)"] + user + ["/usr/bin/env"] + faults + ["\(programs)/\(program)"] + arguments)
    }

    /// A free port that nobody gets by chance: below those the kernel gives to whoever connects. One of these may be taken
    /// while the server is down, even by a client that tries to connect to it.
    package static func freePort() -> UInt16 {
        while true {
            let port = UInt16.random(in: 10_000..<32_000)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if bound == 0 { return port }
        }
    }
}
