import EventStream
import EventStreamServer

/// Passes wake-ups on to the other pushers: they sleep until a writer or the pusher with the waking role notifies them, and the last
/// event of a burst must be announced, too.
final class WakeUps {
    private let port: any HeadPort
    private let loop: any LoopPort
    private var lastPassedOn: MonotonicTime?
    private var timer: (any ScheduledCall)?
    private var roleAskedAt: MonotonicTime?
    var hasListeners = false

    /// Wake-ups are passed on at most this often.
    private static let interval = Duration.milliseconds(5)
    /// How often a listener tries to get the waking role.
    private static let roleInterval = Duration.seconds(1)

    init(_ port: any HeadPort, loop: any LoopPort) {
        self.port = port
        self.loop = loop
    }

    func stop() { timer?.cancel() }

    func passOn() {
        guard hasListeners, timer == nil else { return }
        let elapsed = lastPassedOn.map { loop.now - $0 } ?? WakeUps.interval
        timer = loop.after(max(WakeUps.interval - elapsed, .zero)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.lastPassedOn = self.loop.now
            self.port.notify()
        }
    }

    func mayAskForRole(at now: MonotonicTime) -> Bool {
        guard roleAskedAt.map({ now - $0 >= WakeUps.roleInterval }) ?? true else { return false }
        roleAskedAt = now
        return true
    }
}
