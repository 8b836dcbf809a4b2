import EventStreamServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A small HTTP server: a path in, a text out.
enum MetricsServer {
    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var type = "text/plain; charset=utf-8"
        var body: String
        var headers: [(String, String)] = []
    }

    /// More are closed at once: a scraper and a few people need one each.
    private static let connectionLimit = 64
    /// A connection serves one request, and lasts no longer than this.
    private static let timeout = TimeAmount.seconds(20)

    /// Serves until the task is cancelled.
    ///
    /// - Parameter listening: called once with the address that is bound, port and all.
    static func run(
        on endpoint: MetricsEndpoint, listening: (MetricsEndpoint) -> Void,
        answer: @escaping @Sendable (String) async -> Answer
    ) async throws {
        let connections = ConnectionCount()
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard connections.enter(limit: connectionLimit) else { throw TooMany() }
                    channel.closeFuture.whenComplete { _ in connections.leave() }
                    let alarm = channel.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
                    channel.closeFuture.whenComplete { _ in alarm.cancel() }
                    // 400 for what is no request.
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Responder(answer))
                }
            }
            .bind(host: endpoint.host, port: endpoint.port).get()
        listening(endpoint.with(port: server.localAddress?.port ?? endpoint.port))
        try await withTaskCancellationHandler {
            try await server.closeFuture.get()
        } onCancel: {
            server.close(promise: nil)
        }
    }

    private struct TooMany: Error {}
}

private final class ConnectionCount: Sendable {
    private let count = Mutex(0)
    func enter(limit: Int) -> Bool {
        count.withLock { count in
            guard count < limit else { return false }
            count += 1
            return true
        }
    }
    func leave() { count.withLock { $0 -= 1 } }
}

/// Answers the first request of a connection.
private final class Responder: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let answer: @Sendable (String) async -> MetricsServer.Answer
    private var request: HTTPRequestHead?
    private var isAnswered = false

    init(_ answer: @escaping @Sendable (String) async -> MetricsServer.Answer) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): request = head
        // Nobody needs to send one; it is passed over.
        case .body: break
        case .end:
            guard let request, !isAnswered else { return }
            isAnswered = true
            let path = String(request.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).first ?? "")
            let (channel, answer) = (context.channel, answer)
            Task {
                let isRead = request.method == .GET || request.method == .HEAD
                let found =
                    isRead ? await answer(path) : MetricsServer.Answer(status: .methodNotAllowed, body: "only GET is served")
                channel.eventLoop.execute { Responder.send(found, to: request, over: channel) }
            }
        }
    }

    private static func send(_ answer: MetricsServer.Answer, to request: HTTPRequestHead, over channel: any Channel) {
        let body = answer.body.hasSuffix("\n") ? answer.body : answer.body + "\n"
        var headers: HTTPHeaders = [
            "Content-Type": answer.type, "Content-Length": "\(body.utf8.count)", "Cache-Control": "no-store",
            "Connection": "close",
        ]
        for (name, value) in answer.headers { headers.add(name: name, value: value) }
        channel.write(
            HTTPServerResponsePart.head(.init(version: .http1_1, status: answer.status, headers: headers)), promise: nil)
        if request.method != .HEAD {
            channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in channel.close(promise: nil) }
    }

    /// What was sent is no HTTP, or the connection broke: it is of no use any more.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
