import EventStream

/// What all sessions of a pusher share of the stream.
final class SharedStream {
    /// The newest stretch; nil until reading has begun.
    var window: EventWindow?
    /// When the stream was settled up to which id.
    var times = SettledTimes()
    private let byteLimit: Int

    init(byteLimit: Int) { self.byteLimit = byteLimit }

    func begin(after position: EventID) { window = EventWindow(after: position, byteLimit: byteLimit) }

    /// - Parameter age: how long ago the look began that did not find it yet.
    func append(_ page: EventPage, age: Duration?, at now: EventTimestamp) {
        window?.append(page)
        let microseconds = age.map { Int64($0 / .microseconds(1)) } ?? 0
        let since = EventTimestamp(microseconds: now.microseconds - max(0, microseconds))
        times.settled(SettledMark(id: page.through, since: since, at: now))
    }
}
