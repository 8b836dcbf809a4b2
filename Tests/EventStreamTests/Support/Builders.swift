public import EventStream

/// Tests turn this clock by hand.
let start = MonotonicTime.now

extension EventID: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: Int64) { self.init(value) }
}

func json(_ text: String) throws -> RawJSON { try RawJSON(text) }

func event(
    _ id: Int64, _ type: String = "TEST", data: String = "null", microseconds: Int64 = 0, key: String? = nil, meta: String? = nil
) -> Event {
    Event(
        id: EventID(id), type: EventType(type)!, data: RawJSON(unchecked: Array(data.utf8)),
        timestamp: EventTimestamp(microseconds: microseconds), isPrecise: false, key: key,
        meta: meta.map { RawJSON(unchecked: Array($0.utf8)) })
}

func events(_ ids: some Sequence<Int64>) -> [Event] { ids.map { event($0) } }

/// A page as the pusher builds it out of rows.
func page(after: EventID, _ events: [Event], through: EventID? = nil) -> EventPage {
    var builder = EventPageBuilder(after: after)
    for event in events { event.append(to: &builder) }
    return builder.build(through: through ?? events.last?.id ?? after)
}

/// The name of the error that `body` throws; nil if it throws none.
func errorName(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch let error as EventStreamError {
        return error.name
    } catch let failure as WireMessageFailure {
        return failure.error.name
    } catch {
        return "\(error)"
    }
}
