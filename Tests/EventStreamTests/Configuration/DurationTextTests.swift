import Testing

@testable import EventStreamServer

@Suite struct DurationTextTests {
    @Test(
        arguments: [
            ("0", .zero), ("30s", .seconds(30)), ("200ms", .milliseconds(200)), ("5us", .microseconds(5)),
            ("5m", .seconds(300)), ("2h", .seconds(7200)), ("7d", .seconds(604_800)), ("1.5s", .milliseconds(1500)),
            ("0.5ms", .microseconds(500)),
        ] as [(String, Duration)])
    func durationsHaveUnits(_ text: String, _ duration: Duration) {
        #expect(Duration(text: text) == duration)
    }

    @Test(arguments: [
        "", "s", "ms", "-1", "-1s", "1x", "1 s", " 1s", "1h30m", "nan", "inf", "infs", "1e300d", "99999999999", "30", "0.001",
        "1", "+1s", "1e3s", "0x10s", "nans", "..s", "s1", "1S", "∞",
    ])
    func whatIsNoDurationIsRefused(_ text: String) {
        #expect(Duration(text: text) == nil)
    }
}
