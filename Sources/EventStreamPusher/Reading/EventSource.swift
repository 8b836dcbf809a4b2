import EventStream
import EventStreamDatabase
import LibPQ

// Where consumers who catch up have their events from. ``CatchUpLink`` reads the event table, ``CatchUpReads`` and the drivers of
// sessions and polls ask, ``Membership`` hands the port out, and `PusherProcess` makes it. Who reads at the head: ``HeadPort``.

/// The connection that reads older events for those who catch up: pages must not hold positions up.
protocol CatchUpPort: DatabasePort {
    var delegate: (any CatchUpPortDelegate)? { get set }
    var identity: GenerationStore.Identity? { get }
    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void)
    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void)
}

protocol CatchUpPortDelegate: AnyObject {
    func catchUpOpened()
    func catchUpFailed(_ error: any Error)
}

/// Rows of the event table as they were read, not yet in their wire form.
protocol FetchedRows {
    var ids: [EventID] { get }
    /// Whether a limit ended the page, so that there may be more.
    var isCut: Bool { get }
    /// How far the rows are complete.
    var through: EventID { get }
    func traces(first count: Int) -> [StreamMemory.Trace]
    func page() -> EventPage
    /// The first `count` of them as a page that ends there; at least one.
    func page(first count: Int) -> EventPage
}

extension QueueRows: FetchedRows {}
