/// How far a consumer is behind: the answer to the call `lag`, `{"events":N,"seconds":N.NNN}`, with `"paused":true` if it is paused.
public struct ConsumerLag: Hashable, Sendable {
    /// Events it wants and has not confirmed.
    public let events: Int
    /// How long ago the oldest of them could be delivered; 0 if there is none.
    public let seconds: Double
    /// Whether an operator has stopped its delivery.
    public let isPaused: Bool

    public init(events: Int, seconds: Double, isPaused: Bool = false) {
        self.events = events
        self.seconds = seconds
        self.isPaused = isPaused
    }

    /// Nil for anything else.
    public init?(_ json: RawJSON) {
        guard let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }) else { return nil }
        func number(_ name: String) -> String? {
            members.first { $0.key == name }.map { String(decoding: json.bytes[$0.value], as: UTF8.self) }
        }
        guard let events = number("events").flatMap({ Int($0) }), let seconds = number("seconds").flatMap({ Double($0) }) else {
            return nil
        }
        self.init(events: events, seconds: seconds, isPaused: number("paused") == "true")
    }

    public var json: RawJSON {
        let milliseconds = Int((max(0, min(seconds, 1e12)) * 1000).rounded())
        let fraction = String(String(1000 + milliseconds % 1000).dropFirst())
        let paused = isPaused ? ",\"paused\":true" : ""
        return RawJSON(unchecked: Array("{\"events\":\(events),\"seconds\":\(milliseconds / 1000).\(fraction)\(paused)}".utf8))
    }
}
