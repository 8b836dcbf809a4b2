import Foundation
import Glibc
import TestSupport

/// A PostgreSQL cluster of a test's own, whose server may be killed and started again.
actor PrivateCluster {
    /// A server that ended instead of starting.
    struct NotStarted: Error, CustomStringConvertible {
        let description: String
    }

    /// A connection string, for a superuser.
    nonisolated let url: String
    private let data: String
    private let port: UInt16
    private let programs: String
    private var server: ChildProcess?

    /// Makes a cluster and starts it, runs `body`, and removes it.
    static func with(_ body: (PrivateCluster) async throws -> Void) async throws {
        let programs = try await ChildProcess.run("/usr/bin/env", ["pg_config", "--bindir"]).text
        let cluster = PrivateCluster(programs: programs.trimmingCharacters(in: .whitespacesAndNewlines))
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

    private init(programs: String) {
        self.programs = programs
        port = PrivateCluster.freePort()
        url = "host=127.0.0.1 port=\(port) user=postgres dbname=postgres"
        data = "/tmp/evt-cluster-\(UInt64.random(in: 0...UInt64.max))"
    }

    private func make() async throws {
        try FileManager.default.createDirectory(
            atPath: data, withIntermediateDirectories: false,
            attributes: getuid() == 0 ? [.posixPermissions: 0o700, .ownerAccountName: "postgres"] : [.posixPermissions: 0o700])
        let made = try await run(
            "initdb", "--no-sync", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"
        ).ended()
        guard made.status == 0 else { throw NotStarted(description: made.text) }
    }

    /// Starts the server, and waits until it serves; what a killed one has left behind does not matter.
    func start() async throws {
        // What was written survives the end of any process; half a page that was being written does not.
        let server = try run(
            "postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=\(port)", "-c", "unix_socket_directories=",
            "-c", "fsync=off", "-c", "full_page_writes=on", "-c", "shared_buffers=16MB", "-c", "max_connections=50")
        self.server = server
        try await eventually("the start of PostgreSQL") {
            guard server.isRunning else { throw NotStarted(description: server.output) }
            return (try? await TestDatabase.number("SELECT 1", on: url)) == 1
        }
    }

    /// kill -9. The server's own children end by themselves then, each as soon as it waits for something.
    func kill() async throws {
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
        return try ChildProcess("/usr/bin/env", ["--chdir=\(data)"] + user + ["\(programs)/\(program)"] + arguments)
    }

    /// A free port that nobody gets by chance: below those the kernel gives to whoever connects. One of these may be taken
    /// while the server is down, even by a client that tries to connect to it.
    private static func freePort() -> UInt16 {
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
