import EventStream
import LibZMQ
import PosixLoop

/// Keeps a session with a pusher: registers, gets ready, stays alive, begins anew after a loss.
///
/// Belongs to the loop's thread.
final class ReceiverEngine {
    private enum State {
        case stopped
        case starting
        case ready(session: Int)
    }

    private let configuration: ReceiverConfiguration
    private let component: ConsumerComponent
    private let loop: EventLoop
    private let channel: CallChannel
    private let emit: (ReceiverSignal) -> Void
    let batches: BatchDriver
    private var state = State.stopped
    /// Nothing begins any more.
    private var isStopping = false
    /// The next attempt to begin or, during a session, the next sign of life.
    private var timer: Timer?
    private var contact: Timer?
    private var backoff = Backoff(first: .milliseconds(200), longest: .seconds(5))
    /// Whether the pusher is told what only newer versions know; one of an older version refuses.
    private var asksMore = true
    /// The number of the present session, another one for each; nil while there is none.
    var session: Int? { if case .ready(let session) = state { session } else { nil } }

    init(
        _ configuration: ReceiverConfiguration, component: ConsumerComponent, loop: EventLoop,
        emit: @escaping (ReceiverSignal) -> Void
    ) {
        (self.configuration, self.component, self.loop, self.emit) = (configuration, component, loop, emit)
        channel = CallChannel(
            configuration.endpoints, keys: configuration.keys, timeout: configuration.sessionTimeout, loop: loop)
        batches = BatchDriver(
            configuration, mayHaveGaps: component.isLive,
            .init(
                answer: { [channel] in channel.answer($0, $1) },
                schedule: { [loop] in
                    let timer = loop.schedule(after: $0, $1)
                    return { timer.cancel() }
                }, emit: emit))
    }

    // MARK: Session

    func start() throws(EventStreamError) {
        guard case .stopped = state, !isStopping else { return }
        channel.delegate = self
        state = .starting
        expectContact(within: .seconds(2))
        do {
            try channel.open()
        } catch {
            state = .stopped
            throw error
        }
    }

    func lag(timeout: Duration) async throws(EventStreamError) -> ConsumerLag {
        let answer = try await channel.call(.lag(component), timeout: timeout)
        guard let lag = ConsumerLag(answer) else { throw .communicationError("the answer tells no lag: \(answer)") }
        return lag
    }

    func archive(known: String?, token: String, timeout: Duration) async throws(EventStreamError) -> ArchiveAdmission? {
        ArchiveAdmission(try await channel.call(.archive(component, known: known, token: token), timeout: timeout))
    }

    /// Without a connection nothing else would tell why nothing comes.
    private func expectContact(within timeout: Duration) {
        contact?.cancel()
        contact = loop.schedule(after: timeout) { [weak self] in
            guard let self, case .starting = self.state else { return }
            if !self.channel.isConnected {
                self.emit(.workerError(.communicationError(self.channel.absence)))
            }
            self.expectContact(within: .seconds(30))
        }
    }

    /// False once stopped; there is nothing to wait for then.
    func startOrReport() -> Bool {
        guard !isStopping else { return false }
        do {
            try start()
        } catch {
            // Out of descriptors, perhaps; that may pass.
            emit(.workerError(.communicationError("\(error)")))
            state = .starting
            channel.openLater()
        }
        return true
    }

    /// Ends the session, so that another receiver can take over at once. A batch that is out may be reported first.
    func stop(within timeout: Duration = .seconds(2), completion: @escaping () -> Void) {
        isStopping = true
        guard case .ready = state, !batches.isAwaited else {
            finish()
            return completion()
        }
        batches.whenReported(within: timeout) { self.endSession(completion) }
    }

    private func endSession(_ completion: @escaping () -> Void) {
        guard case .ready = state else {
            finish()
            return completion()
        }
        state = .stopped
        timer?.cancel()
        channel.call(.stopReceiving(component), timeout: .seconds(1)) { _ in
            self.finish()
            completion()
        }
    }

    /// Closes without a word; the lease at the pusher runs out.
    func finish() {
        (state, isStopping) = (.stopped, true)
        timer?.cancel()
        contact?.cancel()
        channel.close()
        batches.finish()
    }

    private func begin() {
        guard case .starting = state, !isStopping else { return }
        guard !component.isLive, configuration.registers else { return getReady() }
        let registration = Call.registerConsumer(
            component.cut(nil), start: configuration.start, slices: component.slice?.count)
        channel.call(registration, timeout: configuration.sessionTimeout) { result in
            switch result {
            case .success: self.getReady()
            case .failure(let error): self.failed(error)
            }
        }
    }

    private var readyCall: Call {
        .readyToReceive(
            component, want: configuration.want, fields: configuration.fields, origin: true,
            partial: asksMore && configuration.answersPartly,
            park: !asksMore || configuration.mayPark)
    }

    private func getReady() {
        guard case .starting = state else { return }
        channel.call(readyCall, timeout: configuration.sessionTimeout) { result in
            guard case .starting = self.state else { return }
            switch result {
            case .success(let answer):
                self.backoff.reset()
                // The answer comes before the session's first group.
                self.state = .ready(session: self.batches.sessionStarted())
                self.batches.follow(StreamOrigin(answer))
                self.emit(.ready)
                self.scheduleKeepAlive()
            case .failure(let error) where error.code == .invalidRequest && self.asksMore:
                // It may be a parameter that this pusher does not know.
                self.asksMore = false
                self.getReady()
            case .failure(let error): self.failed(error)
            }
        }
    }

    /// Waits for the next batch; nil once stopped. A batch not reported yet counts as failed.
    func next(_ completion: @escaping (ReceiverProgress.Batch?) -> Void) {
        batches.next(isReceiving: { if case .stopped = self.state { false } else { true } }, completion)
    }

    func moveOn(because reason: String) { channel.reset(because: reason) }

    private func failed(_ error: EventStreamError) {
        guard case .starting = state else { return }
        emit(.workerError(error))
        // A lost connection begins anew by itself.
        guard error.code != .communicationError else { return }
        guard error.code != .timeout else { return channel.reset(because: "no answer") }
        let pause = error.code == .consumerBusy ? Duration.milliseconds(500) : backoff.next()
        timer?.cancel()
        timer = loop.schedule(after: pause) { [weak self] in
            guard let self else { return }
            // Another pusher may read the archive.
            guard error.code == .historyUnavailable, self.configuration.endpoints.count > 1 else { return self.begin() }
            self.channel.reset(because: "\(error)")
        }
    }

    private func scheduleKeepAlive() {
        timer?.cancel()
        timer = loop.schedule(after: min(configuration.keepAlive, configuration.sessionTimeout / 3)) { [weak self] in
            guard let self else { return }
            self.channel.call(self.readyCall, timeout: self.configuration.sessionTimeout) { result in
                guard case .ready = self.state else { return }
                switch result {
                case .success(let answer):
                    self.batches.follow(StreamOrigin(answer))
                    self.scheduleKeepAlive()
                case .failure(let error):
                    self.emit(.workerError(error))
                    self.channel.reset(because: "the session was lost: \(error)")
                }
            }
        }
    }
}

extension ReceiverEngine: CallChannelDelegate {
    func connected() {
        // This one may be newer.
        asksMore = !component.isLive
        begin()
    }

    func disconnected() {
        timer?.cancel()
        guard case .ready = state else { return }
        emit(.workerError(.communicationError("the connection was lost")))
        state = .starting
        expectContact(within: .seconds(2))
    }

    func called(_ request: WireMessage.Request) {
        do {
            received(try OnEvents(request))
        } catch {
            emit(.receiverError(error))
            channel.answer(request.rid, .failure(error))
        }
    }

    func received(_ call: OnEvents) {
        do throws(EventStreamError) {
            guard case .ready = state else { throw EventStreamError.internalError("not receiving") }
            try batches.received(call)
        } catch {
            emit(.receiverError(error))
            channel.answer(call.rid, .failure(error))
        }
    }
}
