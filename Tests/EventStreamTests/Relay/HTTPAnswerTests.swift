import EventStream
import EventStreamServer
import Testing

@testable import EventStreamRelay

@Suite struct HTTPAnswerTests {
    private func kind(_ status: Int) -> String {
        switch HTTPAnswer(status: status).outcome(now: 0) {
        case .taken: "taken"
        case .again: "again"
        case .refused: "refused"
        case .standStill: "standStill"
        }
    }

    @Test func `every status means something`() {
        let again = [408, 425, 429] + Array(500...599)
        let standing = Array(300...399) + [401, 403, 404, 405, 407, 410]
        for status in 200...599 {
            let expected =
                status < 300 ? "taken" : again.contains(status) ? "again" : standing.contains(status) ? "standStill" : "refused"
            #expect(kind(status) == expected, "\(status)")
        }
    }

    @Test func `the words have the beginning of the body, on one line`() {
        let body = Array("no such\norder\u{1B}[2J".utf8) + [UInt8](repeating: 0x61, count: 4000)
        guard case .refused(let words) = HTTPAnswer(status: 422, body: body).outcome(now: 0) else { return #expect(Bool(false)) }
        #expect(words.hasPrefix(#"the endpoint answers 422: no such\norder\u001b[2Jaaa"#) && words.utf8.count < 600)
    }

    @Test(arguments: [
        ("0", 0.5), ("7", 7), ("3600", 3600), ("99999999999999999999", 3600), ("4000", 3600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37), ("Sun, 06 Nov 1994 08:48:00 GMT", 0.5), ("Mon, 07 Nov 1994 08:49:37 GMT", 3600),
    ])
    func `an endpoint says when to ask again`(_ text: String, _ seconds: Double) {
        #expect(RetryAfter.pause(text, now: 784_111_740) == .seconds(seconds))
        let answer = HTTPAnswer(status: 429, retryAfter: text).outcome(now: 784_111_740)
        #expect(answer == .again(after: .seconds(seconds), because: "the endpoint answers 429"))
    }

    @Test(arguments: ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT"])
    func `what says nothing is as if it were not there`(_ text: String) {
        #expect(
            HTTPAnswer(status: 503, retryAfter: text).outcome(now: 0) == .again(after: nil, because: "the endpoint answers 503"))
    }
}
