import EventStream
import Testing

@Suite struct ConsumerLagTests {
    @Test func itIsReadAsItWasWritten() {
        for (events, seconds) in [(0, 0.0), (1, 0.001), (12_345, 86_400.5), (7, 1.999)] {
            let lag = ConsumerLag(events: events, seconds: seconds)
            #expect(ConsumerLag(lag.json) == lag)
        }
    }

    @Test func secondsHaveThreeDigits() {
        #expect(ConsumerLag(events: 3, seconds: 2.05).json.description == #"{"events":3,"seconds":2.050}"#)
        let paused = ConsumerLag(events: 1, seconds: 0, isPaused: true)
        #expect(paused.json.description == #"{"events":1,"seconds":0.000,"paused":true}"# && ConsumerLag(paused.json) == paused)
        #expect(ConsumerLag(events: 0, seconds: -1).json.description == #"{"events":0,"seconds":0.000}"#)
    }

    @Test(arguments: ["true", "{}", #"{"events":1}"#, #"{"events":"1","seconds":0}"#, "[]", #"{"events":1.5,"seconds":0}"#])
    func anythingElseIsNone(_ text: String) throws {
        #expect(try ConsumerLag(RawJSON(text)) == nil)
    }
}
