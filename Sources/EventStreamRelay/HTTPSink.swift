import AsyncHTTPClient
import EventStream
import EventStreamServer
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// Posts CloudEvents to an endpoint, signed as Standard Webhooks.
final class HTTPSink: EventSink {
    private let configuration: Relay.Configuration
    private let target: RelayTarget
    private let connections: HTTPConnections

    init(_ configuration: Relay.Configuration) throws(ConfigurationError) {
        self.configuration = configuration
        target = try configuration.target()
        connections = HTTPConnections(to: target, configuration)
    }

    var name: String { "\(target)" }

    var limits: RelayPlan.Limits {
        RelayPlan.Limits(requests: configuration.concurrency, events: configuration.format == .batch ? 100 : 1)
    }

    func deliver(_ events: [CloudEvent]) async -> SinkOutcome {
        do {
            let request = try request(for: events)
            let client = try await connections.client()
            let response = try await client.execute(
                request, deadline: .now() + .nanoseconds(Int64(configuration.timeout / .nanoseconds(1))))
            let answer = HTTPAnswer(
                status: Int(response.status.code), retryAfter: response.headers.first(name: "retry-after"),
                body: await HTTPSink.beginning(of: response.body))
            return answer.outcome(now: Int64(time(nil)))
        } catch let error as HTTPConnections.Forbidden {
            return .standStill(because: "EVT_RELAY_TO \(error)")
        } catch {
            await connections.failed()
            return .again(after: nil, because: HTTPSink.words(for: error, within: configuration.timeout))
        }
    }

    func close() async { await connections.close() }

    // MARK: Requests

    private func request(for events: [CloudEvent]) throws(ConfigurationError) -> HTTPClientRequest {
        let body: [UInt8]
        var headers = [("user-agent", "evt-relay")]
        switch configuration.format {
        case .structured:
            headers.append(("content-type", "application/cloudevents+json; charset=utf-8"))
            body = events[0].json
        case .binary:
            headers += [("content-type", "application/json")] + events[0].headers
            body = events[0].event.data.bytes
        case .batch:
            headers.append(("content-type", "application/cloudevents-batch+json; charset=utf-8"))
            body = CloudEvent.batch(events)
        }
        headers += WebhookSecret.headers(
            id: WebhookSecret.id(of: events), timestamp: Int64(time(nil)), body: body, secrets: try configuration.secrets())
        var request = HTTPClientRequest(url: target.url)
        request.method = .POST
        request.headers = HTTPHeaders(headers)
        request.body = .bytes(ByteBuffer(bytes: body))
        return request
    }

    // MARK: Answers

    /// The status decides; what the body says is for people, and has a second to come.
    private static func beginning(of body: HTTPClientResponse.Body) async -> [UInt8] {
        await withTaskGroup(of: [UInt8].self) { group in
            group.addTask {
                var bytes: [UInt8] = []
                do {
                    for try await part in body {
                        bytes += part.readableBytesView.prefix(HTTPAnswer.bodyLimit - bytes.count)
                        if bytes.count == HTTPAnswer.bodyLimit { break }
                    }
                } catch {
                    // What has come is enough.
                }
                return bytes
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(1))
                return []
            }
            defer { group.cancelAll() }
            return await group.next() ?? []
        }
    }

    private static func words(for error: any Error, within timeout: Duration) -> String {
        switch error {
        case let error as HTTPClientError where [.deadlineExceeded, .readTimeout, .connectTimeout].contains(error):
            "the endpoint does not answer within \(timeout.text)"
        case let error as NIOConnectionError where !error.connectionErrors.isEmpty:
            words(for: error.connectionErrors[0].error, within: timeout)
        case let error as IOError: "the connection to the endpoint failed: \(String(cString: strerror(error.errnoCode)))"
        case is RelayFailure, is ConfigurationError: "\(error)"
        default: "the request failed: \(error)"
        }
    }
}
