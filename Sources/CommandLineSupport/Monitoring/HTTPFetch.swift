package import EventStreamServer
import NIOCore
import NIOHTTP1
import NIOPosix

/// One GET over HTTP.
package enum HTTPFetch {
    package struct Answer: Sendable {
        package let status: Int
        package let body: String
        /// Which stream a process serves, if it says so.
        package let served: ServedStream?
    }

    /// Somebody listens, and says nothing, or not enough, in time.
    package struct NoAnswer: Error {}
    /// Somebody listens, and ends the connection, or speaks no HTTP.
    package struct Refused: Error {}

    /// - Throws: ``NoAnswer``, ``Refused``, or the system's error where nobody listens.
    package static func get(_ path: String, from endpoint: MetricsEndpoint, within timeout: Duration) async throws -> Answer {
        let group = MultiThreadedEventLoopGroup.singleton
        let timeout = TimeAmount.nanoseconds(Int64(timeout / .nanoseconds(1)))
        let promise = group.next().makePromise(of: Answer.self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: group)
                .connectTimeout(timeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        try channel.pipeline.syncOperations.addHandler(Collector(promise))
                    }
                }
                .connect(host: endpoint.host, port: endpoint.port).get()
        } catch {
            promise.fail(error)
            if case ChannelError.connectTimeout = error { throw NoAnswer() }
            throw error
        }
        let alarm = channel.eventLoop.scheduleTask(in: timeout) { promise.fail(NoAnswer()) }
        let headers: HTTPHeaders = ["Host": endpoint.description, "Connection": "close"]
        channel.write(
            HTTPClientRequestPart.head(.init(version: .http1_1, method: .GET, uri: path, headers: headers)), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        defer {
            alarm.cancel()
            channel.close(promise: nil)
        }
        return try await promise.futureResult.get()
    }
}

/// Puts an answer together.
private final class Collector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let promise: EventLoopPromise<HTTPFetch.Answer>
    private var status = 0
    private var served: ServedStream?
    private var body = ByteBuffer()
    /// What comes after that is left out.
    private static let longest = 16 << 20

    init(_ promise: EventLoopPromise<HTTPFetch.Answer>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            status = Int(head.status.code)
            served = head.headers.first(name: "Evt-Stream").flatMap { ServedStream($0) }
        case .body(var bytes): if body.readableBytes < Collector.longest { body.writeBuffer(&bytes) }
        case .end: promise.succeed(.init(status: status, body: String(buffer: body), served: served))
        }
    }

    // The first outcome counts.
    func channelInactive(context: ChannelHandlerContext) { promise.fail(HTTPFetch.Refused()) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { promise.fail(HTTPFetch.Refused()) }
}
