import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import LibZMQ
import PosixLoop

// What the pusher needs of the world. The process has it from PostgreSQL, ZeroMQ and an ``EventLoop``; the tests simulate it.
//
// All calls are made, and all completions called, on one thread. A completion is called once; where its connection is lost or
// closed it gets a failure.

/// A connection to the active database that is opened again whenever it is lost.
protocol DatabasePort: AnyObject {
    var isConnected: Bool { get }
    func start()
    func stop()
    /// Gives the present connection up and connects anew.
    func restart(because error: any Error)
}

/// The connection that reads the head of the stream.
protocol HeadPort: DatabasePort {
    var delegate: (any HeadPortDelegate)? { get set }
    func takeWakerRole(_ completion: @escaping (Result<Bool, PostgresError>) -> Void)
    func takeLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void)
    func releaseLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void)
    /// Who may still make an event visible; see ``WriterQueries/look(newestAfter:on:completion:)``.
    func look(newestAfter settled: EventID?, _ completion: @escaping (Result<WriterQueries.Look, PostgresError>) -> Void)
    func read(after: EventID, _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void)
    /// Up to which id events are discarded, by a look that begins after everything asked before was answered.
    func discarded(_ completion: @escaping (Result<EventID, PostgresError>) -> Void)
    /// Makes the sequence go on beyond an id that it has not given; false if the role may not.
    func advance(beyond id: EventID, _ completion: @escaping (Result<Bool, PostgresError>) -> Void)
    /// Passes a wake-up on to the other pushers.
    func notify()
    /// What those who hold the stream back are doing, for people; empty if that cannot be seen.
    func describe(_ holders: Set<TableWriter>, _ completion: @escaping (String) -> Void)
}

protocol HeadPortDelegate: AnyObject {
    /// What is remembered of the stream: a new connection is compared with it.
    var memory: StreamMemory { get }
    func headOpened(_ start: HeadStart)
    /// A writer or another pusher has notified the channel, by this process of the server.
    func headNotified(by process: Int32)
    func headFailed(_ error: any Error)
}

/// What a new connection to the head has found.
struct HeadStart {
    let finding: GenerationStore.Finding
    /// Everything up to here is settled.
    let floor: EventID
    /// Up to here events are discarded.
    let discarded: EventID
    /// Whether writers may prepare transactions, and so do not notify.
    let writersMayPrepare: Bool
    /// The event table's name, for people.
    let table: String
}

/// The connection for consumers, positions and signs of life.
protocol ConsumerPort: DatabasePort {
    var delegate: (any ConsumerPortDelegate)? { get set }
    /// The number of this run: it names the owner of sessions.
    var pusher: Int64 { get }
    /// Which stream the present connection leads to, and where.
    var identity: GenerationStore.Identity? { get }
    /// The name of the server, for people.
    var host: String { get }
    /// How many slices a registered consumer is cut into, 1 for none; nil if it is not registered.
    func slices(of consumer: ConsumerIdentity, _ completion: @escaping (Result<Int?, PostgresError>) -> Void)
    /// Registers a consumer.
    func register(
        _ registration: ConsumerRegistering.Registration,
        _ completion: @escaping (Result<ConsumerRegistering.Registered, PostgresError>) -> Void)
    /// - Parameter readsKeys: whether to ask of which keys events are parked.
    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, isPartial: Bool, readsKeys: Bool, knowing known: PositionBook.Entry?,
        of generation: StreamGeneration, dead: [Int64],
        _ completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void)
    func release(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Void, PostgresError>) -> Void)
    func resume(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Bool, PostgresError>) -> Void)
    func store(
        _ entries: [PositionBook.Entry], of generation: StreamGeneration,
        _ completion: @escaping (Result<[ConsumerIdentity: ConsumerStore.Stored], PostgresError>) -> Void)
    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, of generation: StreamGeneration,
        _ completion: @escaping (Result<ConsumerStore.Polled?, PostgresError>) -> Void)
    func newest(after id: EventID, _ completion: @escaping (Result<EventID?, PostgresError>) -> Void)
    /// Sets an event aside, and moves the position past it.
    func park(
        _ parking: ParkedStore.Parking, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void)
    /// Sets aside what follows parked events of the same keys, and moves the position past it.
    func follow(
        _ following: ParkedStore.Following, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void)
    func failed(
        _ failing: Attempts.Failing, of consumer: ConsumerIdentity, epoch: Int64, _ generation: StreamGeneration,
        _ completion: @escaping (Result<Void, PostgresError>) -> Void)
    /// The parked event that is to be delivered again first; nil if there is none.
    ///
    /// - Parameter cursor: the session has not come further. Beyond it, where an operator has set the position back, earlier events of
    ///   the same key may not be parked yet.
    func nextParked(
        of consumer: ConsumerIdentity, epoch: Int64, through cursor: EventID,
        _ completion: @escaping (Result<ParkedStore.Retry?, PostgresError>) -> Void)
    /// - Returns: to the completion: the key of the event, if no event of this key is parked any more.
    func retried(
        _ id: EventID, of generation: String, _ outcome: ParkedStore.Retried, _ consumer: ConsumerIdentity, epoch: Int64,
        _ completion: @escaping (Result<String?, PostgresError>) -> Void)
    func beat(
        settled: EventID, stored: EventID, looked: Duration?, erased: Int64, generation: StreamGeneration,
        _ completion: @escaping (Result<PusherRegistry.Pulse, PostgresError>) -> Void)
    /// Leaves the registry; everything submitted before has been carried out then, or never will be.
    func leave(_ completion: @escaping () -> Void)
}

protocol ConsumerPortDelegate: AnyObject {
    func consumersOpened()
    func consumersFailed(_ error: any Error)
}

/// Backlog and lag as the tables have them.
protocol FiguresPort: AnyObject {
    /// As they were looked up last; nil if that failed.
    var status: StreamStatus? { get }
    /// Calls back when they are as new as they may be.
    func refresh(_ completion: @escaping () -> Void)
    /// Calls back with figures that are newer than now.
    func renew(_ completion: @escaping () -> Void)
}

/// What notes in the database which warehouse an archiver's session archives into.
protocol ArchivePort: AnyObject {
    func admit(
        _ token: String, of consumer: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        _ completion: @escaping (Result<RawJSON, EventStreamError>) -> Void)
}

/// The processors of this machine.
protocol ProcessorPort: AnyObject {
    /// Whether nearly all of them were busy lately.
    var areShort: Bool { get }
}

/// The live broadcast.
protocol BroadcastPort: AnyObject {
    func send(_ page: EventPage)
}

/// All of them together.
struct PusherPorts {
    let loop: any LoopPort
    let head: any HeadPort
    let consumers: any ConsumerPort
    let catchUp: any CatchUpPort
    /// Nil where it reads no archive.
    let history: (any HistoryPort)?
    let figures: any FiguresPort
    let archive: any ArchivePort
    let processors: any ProcessorPort
    let peers: any PeerPort
    /// Nil where it does not broadcast.
    let broadcast: (any BroadcastPort)?
}
