import EventStream

/// What an endpoint's answer means for the events of the request.
struct HTTPAnswer: Hashable {
    /// Of an answer's body so much is read, for the words of errors.
    static let bodyLimit = 4096

    let status: Int
    var retryAfter: String?
    /// The beginning of the body.
    var body: [UInt8] = []

    /// - Parameter now: seconds since 1970.
    func outcome(now: Int64) -> SinkOutcome {
        switch status {
        case 200...299: .taken
        case 408, 425, 429, 500...599: .again(after: retryAfter.flatMap { RetryAfter.pause($0, now: now) }, because: words)
        case 300...399:
            .standStill(because: "\(words); redirects are not followed: set EVT_RELAY_TO to where the endpoint is now")
        // The URL or what proves who the relay is, rather than the event.
        case 401, 403, 404, 405, 407, 410:
            .standStill(because: "\(words); see whether EVT_RELAY_TO is right, and whether the endpoint lets the relay in")
        case 400...499: .refused(words)
        default: .again(after: nil, because: words)
        }
    }

    private var words: String {
        let text = SafeText.line(String(decoding: body.prefix(500), as: UTF8.self))
        return "the endpoint answers \(status)\(text.isEmpty ? "" : ": \(text)")"
    }
}
