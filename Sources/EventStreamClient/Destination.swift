import EventStream
import FoundationEssentials
import Glibc

/// Where a client connects, and as whom.
///
/// What the application says goes first. Where it names no endpoints, those of the environment are taken, as the programs do, and
/// its keys with them, unless the application gives others; then the standard endpoint.
struct Destination {
    enum Server {
        case generator, pusher

        var setting: String {
            switch self {
            case .generator: "EVT_GENERATOR_CONNECT"
            case .pusher: "EVT_PUSHER_CONNECT"
            }
        }
        var standardEndpoint: String {
            switch self {
            case .generator: GeneratorClient.standardEndpoint
            case .pusher: PollClient.standardEndpoint
            }
        }
    }

    let endpoints: [String]
    let keys: ClientKeys?

    /// - Throws: `InvalidRequest` for an endpoint that is none, or keys that cannot be used.
    init(
        _ endpoints: [String], keys: ClientKeys?, of server: Server,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(EventStreamError) {
        for endpoint in endpoints { try Destination.check(endpoint, from: nil) }
        guard endpoints.isEmpty else {
            (self.endpoints, self.keys) = (endpoints, keys)
            return
        }
        let named = (environment[server.setting] ?? "").split(separator: ",").map { $0.filter { !$0.isWhitespace } }.filter {
            !$0.isEmpty
        }
        for endpoint in named { try Destination.check(endpoint, from: server.setting) }
        self.endpoints = named.isEmpty ? [server.standardEndpoint] : named
        self.keys = if let keys { keys } else { try Destination.keys(in: environment) }
    }

    private static func check(_ endpoint: String, from setting: String?) throws(EventStreamError) {
        guard !isEndpoint(endpoint) else { return }
        throw .invalidRequest(
            (setting.map { "\($0): " } ?? "")
                + "\"\(endpoint.prefix(100))\" is no endpoint; one is like tcp://127.0.0.1:5571, or "
                + "ipc:///run/evt/push")
    }

    static func isEndpoint(_ text: String) -> Bool {
        for scheme in ["ipc://", "inproc://"] where text.hasPrefix(scheme) { return text.count > scheme.count }
        guard text.hasPrefix("tcp://"), let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
        else { return false }
        return port > 0 && text.distance(from: text.startIndex, to: colon) > "tcp://".count
    }

    // MARK: Keys

    private static func keys(in environment: [String: String]) throws(EventStreamError) -> ClientKeys? {
        func given(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let (own, server) = (given("EVT_CURVE_KEY"), given("EVT_SERVER_KEY"))
        guard own != nil || server != nil else { return nil }
        guard let own else {
            throw .invalidRequest("EVT_SERVER_KEY is set but EVT_CURVE_KEY is not: a client needs a key of its own")
        }
        guard let server else {
            throw .invalidRequest("EVT_CURVE_KEY is set but EVT_SERVER_KEY is not: a client has to know the server's")
        }
        let certificate = try certificate(own, "EVT_CURVE_KEY")
        var status = stat()
        guard stat(own, &status) == 0, status.st_mode & 0o007 == 0 else {
            throw .invalidRequest(
                "EVT_CURVE_KEY: \(own) is open to everyone: chmod 600 it, and make a new key if others could read it")
        }
        let key =
            if access(server, F_OK) != 0, let key = CurveKey(server) { key } else {
                try Destination.certificate(server, "EVT_SERVER_KEY").publicKey
            }
        do {
            return try ClientKeys(certificate: certificate, serverKey: key)
        } catch {
            throw .invalidRequest("EVT_CURVE_KEY: \(own): \(error)")
        }
    }

    private static func certificate(_ path: String, _ setting: String) throws(EventStreamError) -> CurveCertificate {
        guard let bytes = try? Data(contentsOf: URL(filePath: path)) else {
            throw .invalidRequest("\(setting): the file \(path.prefix(200)) cannot be read")
        }
        do {
            return try CurveCertificate(decoding: Array(bytes))
        } catch {
            throw .invalidRequest("\(setting): \(path) is no certificate: \(error)")
        }
    }
}

extension ReceiverConfiguration {
    /// With endpoints and keys that can be used.
    func resolved() throws(EventStreamError) -> ReceiverConfiguration {
        let destination = try Destination(endpoints, keys: keys, of: .pusher)
        var configuration = self
        (configuration.endpoints, configuration.keys) = (destination.endpoints, destination.keys)
        return configuration
    }
}
