public import EventStream

/// Counts each event once in a PostgreSQL of the application's own, where `evt inbox --url URL` has made the inbox.
///
///     let inbox = Inbox("BILLING")
///     for await batch in receiver.batches {
///         let claim = try inbox.claim(batch)
///         // In one transaction of the application's client:
///         let ids = try await client.query(claim.sql, claim.binds)
///         for event in claim.unprocessed(ids) { … }
///         // After its commit:
///         await batch.confirm()
///     }
public struct Inbox: Hashable, Sendable {
    /// Names the work in the inbox.
    public let consumer: String
    private let function: String

    /// - Parameters:
    ///   - consumer: a name for the receiver's work, such as that of its component. A consumer whose work is in several databases has
    ///     an inbox in each.
    ///   - schema: where the inbox is; nil to find it by the search path.
    public init(_ consumer: String, schema: String? = nil) {
        self.consumer = consumer
        function = TableName(schema: schema, name: "evt_inbox_claim").sql
    }

    /// Claims the events of a batch, or those up to one of them.
    ///
    /// - Parameters:
    ///   - batch: must not be confirmed before the transaction is committed.
    ///   - last: one of the batch's events; what follows it is claimed later. Nil for all.
    /// - Returns: the first statement for the transaction that processes them.
    /// - Throws: `NotImplemented` if the pusher is too old to tell the generation of the stream.
    public func claim(_ batch: EventBatch, through last: Event? = nil) throws(EventStreamError) -> InboxClaim {
        guard let origin = batch.origin else {
            throw .notImplemented(
                "the pusher does not tell the generation of the stream, which an inbox needs: upgrade the pusher")
        }
        return claim(batch.events.filter { $0.id <= last?.id ?? $0.id }, of: origin, isParked: batch.isParked)
    }

    package func claim(_ events: [Event], of origin: StreamOrigin, isParked: Bool) -> InboxClaim {
        func list(_ numbers: some Sequence<Int64>) -> String { "{\(numbers.map { "\($0)" }.joined(separator: ","))}" }
        return InboxClaim(
            events: events,
            sql: "SELECT \(function)($1::text, $2::text::json, $3::text::bigint[], $4::text::bigint[], $5::text::boolean)",
            binds: [
                consumer, "\(origin.json)", list(events.lazy.map(\.id.rawValue)), list(events.lazy.map(\.fingerprint)),
                "\(isParked)",
            ])
    }
}

/// The statement by which a transaction claims events: those that it processes, and no other transaction ever again.
public struct InboxClaim: Hashable, Sendable {
    /// The events that are claimed, processed before or not.
    public let events: [Event]
    /// Takes five binds, `$1` to `$5`, all of them text; returns rows of one `bigint`: the ids of the events that were not processed
    /// before.
    ///
    /// It fails with SQLSTATE 55000 if the batch is of a generation of the stream that is over: reject the batch. In `REPEATABLE READ`
    /// and `SERIALIZABLE` it may fail with 40001: run the transaction again.
    public let sql: String
    /// The name of the consumer, the origin, the ids, a fingerprint of each, and whether the batch is a parked event.
    public let binds: [String]

    /// - Parameter ids: what ``sql`` has returned.
    /// - Returns: the events to process, in their order. The others were processed before.
    public func unprocessed(_ ids: some Sequence<Int64>) -> [Event] {
        let ids = Set(ids)
        return events.filter { ids.contains($0.id.rawValue) }
    }
}

extension Event {
    /// Tells the event from another one that gets its id after a fail-over: FNV-1a of all there is of it, a zero byte after each part.
    ///
    /// Never another one for the same event: it is compared with those that earlier versions have stored.
    fileprivate var fingerprint: Int64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        for part in [type.utf8, timestamp.wire, isPrecise ? Array("\(timestamp.fraction)".utf8) : [], data.bytes] {
            for byte in part { add(byte) }
            add(0)
        }
        return Int64(bitPattern: hash)
    }
}
