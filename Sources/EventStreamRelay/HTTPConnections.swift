import AsyncHTTPClient
import EventStream
import EventStreamServer
import NIOCore
import NIOPosix

/// Connections to the endpoint: to an address that has been looked at before, and to no other.
actor HTTPConnections {
    /// The endpoint's name stands for no address that may be used.
    struct Forbidden: Error, CustomStringConvertible { let description: String }

    /// So long an address of a name counts.
    private static let memory = Duration.seconds(30)

    private let target: RelayTarget
    private let allowsPrivate: Bool
    private let concurrency: Int
    private let timeout: Duration
    private var present: (client: HTTPClient, address: NetworkAddress)?
    private var lookedUpAt: MonotonicTime?
    /// The address was of no use.
    private var hasFailed = false
    private var lookup: Task<HTTPClient, any Error>?

    init(to target: RelayTarget, _ configuration: Relay.Configuration) {
        self.target = target
        (allowsPrivate, concurrency, timeout) = (configuration.allowsPrivate, configuration.concurrency, configuration.timeout)
    }

    func client() async throws -> HTTPClient {
        if let present, !hasFailed, let lookedUpAt, .now - lookedUpAt < Self.memory { return present.client }
        if let lookup { return try await lookup.value }
        let task = Task {
            defer { lookup = nil }
            return try await lookUp()
        }
        lookup = task
        return try await task.value
    }

    /// A request had no answer: the name is looked up again, and another address tried if there is one.
    func failed() { hasFailed = true }

    func close() async {
        try? await present?.client.shutdown()
        present = nil
    }

    private func lookUp() async throws -> HTTPClient {
        let found = try await addresses()
        let allowed = allowsPrivate ? found : found.filter { !$0.isPrivate }
        guard let first = allowed.first else { throw Forbidden(description: RelayTarget.privacy(found[0])) }
        var chosen = first
        if let present, let index = allowed.firstIndex(of: present.address) {
            chosen = hasFailed ? allowed[(index + 1) % allowed.count] : present.address
        }
        (lookedUpAt, hasFailed) = (.now, false)
        if let present {
            guard present.address != chosen else { return present.client }
            // What is under way there ends without an answer, and is tried again.
            Task { try? await present.client.shutdown() }
        }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration(for: chosen))
        present = (client, chosen)
        return client
    }

    private func addresses() async throws -> [NetworkAddress] {
        let host = target.host
        if let address = NetworkAddress(host) { return [address] }
        let timeout = min(timeout, .seconds(10))
        let outcome = await Answer<Result<[NetworkAddress], RelayFailure>>(
            timeout, otherwise: .failure(RelayFailure("the host \(host) is not found: no answer within \(timeout.text)"))
        ) { answer in
            NIOThreadPool.singleton.submit { _ in
                answer(Result { () throws(RelayFailure) in try NetworkAddress.resolve(host) })
            }
        }.value
        let found = try outcome.get()
        guard !found.isEmpty else { throw RelayFailure("the host \(host) has no address") }
        return found
    }

    private func configuration(for address: NetworkAddress) -> HTTPClient.Configuration {
        let limit = TimeAmount.nanoseconds(Int64(timeout / .nanoseconds(1)))
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow, timeout: .init(connect: limit, read: limit))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = concurrency
        // A failure is told, rather than tried again behind our back.
        configuration.connectionPool.retryConnectionEstablishment = false
        // The name stays that of requests and certificates.
        for name in [target.host, target.host.lowercased()] { configuration.dnsOverride[name] = address.description }
        return configuration
    }
}
