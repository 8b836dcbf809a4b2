import EventStream
import EventStreamDatabase
import LibPQ

// Where consumers who catch up have their events from. ``EventReads`` chooses the source and joins the two; ``CatchUpLink`` reads the
// event table, ``HistoryLink`` the archive; ``Membership`` hands the ports out, and `PusherProcess` makes them. Who reads at the head:
// ``HeadPort``.

/// The connection that reads older events of the event table for those who catch up: pages must not hold positions up.
protocol CatchUpPort: DatabasePort {
    var delegate: (any CatchUpPortDelegate)? { get set }
    var identity: GenerationStore.Identity? { get }
    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void)
    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<TablePage, PostgresError>) -> Void)
    /// Where the events of a time or later begin.
    func first(since time: EventTimestamp, _ completion: @escaping (Result<QueueQueries.Since, PostgresError>) -> Void)
}

protocol CatchUpPortDelegate: AnyObject {
    func catchUpOpened()
    func catchUpFailed(_ error: any Error)
}

/// A page of the event table.
struct TablePage {
    let rows: any FetchedRows
    /// Up to here events were discarded, by a look that began after the page was read.
    let discarded: EventID
}

/// The connection that reads an archive.
protocol HistoryPort: DatabasePort {
    /// Why there is no connection; nil if there is one, or none was tried.
    var failure: String? { get }
    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<ArchivePage, PostgresError>) -> Void)
    /// What the archive holds.
    func look(_ completion: @escaping (Result<ArchiveExtent, PostgresError>) -> Void)
    /// The first archived event in the order of ids, in (after, through], that was recorded at a time or later; and whether there are
    /// events before it.
    func first(
        since time: EventTimestamp, after: EventID, through: EventID,
        _ completion: @escaping (Result<(first: EventID?, hasEarlier: Bool), PostgresError>) -> Void)
}

/// A page of an archive, and what that held before and after the page was read.
struct ArchivePage {
    let rows: any FetchedRows
    let before: ArchiveExtent
    let after: ArchiveExtent
}

/// Rows as they were read, not yet in their wire form.
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
