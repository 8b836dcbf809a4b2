/// How far behind a consumer may be and still hold all events back that it has not confirmed.
package enum MaxLag: Hashable, Sendable {
    /// Events that a consumer may be behind, counted by their ids.
    case events(Int64)
    /// How long ago the first event that the consumer has not confirmed could be delivered.
    case time(Duration)

    /// A consumer with this holds every event back, however the discarder is set.
    package static let unlimited = MaxLag.events(999_999_999_999_999_999)

    /// What the columns of a consumer hold; nil for two that are NULL.
    init?(events: Int64?, microseconds: Int64?) {
        if let events {
            self = .events(events)
        } else if let microseconds {
            self = .time(.microseconds(microseconds))
        } else {
            return nil
        }
    }

    /// The columns `max_lag_events` and, in microseconds, `max_lag_time`.
    var columns: (events: Int64?, microseconds: Int64?) {
        switch self {
        case .events(let events): (events, nil)
        case .time(let time): (nil, Int64(time / .microseconds(1)))
        }
    }
}
