public import EventStream

/// A reliable receiver's batches, as they come.
public struct EventBatches: AsyncSequence, Sendable {
    let receiver: ReliableReceiver

    public struct AsyncIterator: AsyncIteratorProtocol {
        let receiver: ReliableReceiver
        public mutating func next() async -> EventBatch? {
            await receiver.next()
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(receiver: receiver) }
}

/// Events to be processed and then confirmed.
public struct EventBatch: Sendable {
    /// In id order, at least one, none confirmed before.
    public let events: [Event]
    /// Whether this is one event that failed before and was parked, and that an operator has delivered again: its id is lower than
    /// those of earlier batches.
    public let isParked: Bool
    /// Which stream they are of, and what the session they came in followed; nil if the pusher is too old to tell.
    public let origin: StreamOrigin?
    let number: Int
    let receiver: ReliableReceiver

    /// They have been processed: they will not come again. Only the first report about a batch counts.
    public func confirm() async { await receiver.succeeded(self) }

    /// The events up to this one have been processed: they will not come again, whatever happens to the rest.
    ///
    /// - Parameter event: one of ``events``; an earlier one than before, or another batch's, changes nothing.
    public func confirm(through event: Event) async { await receiver.succeeded(self, through: event) }

    /// This event could not be processed; those before it have been. It comes again after a pause, and what follows after it.
    ///
    /// - Parameters:
    ///   - event: one of ``events`` that is not confirmed.
    ///   - reason: for the pusher's log, at most 1000 bytes of it.
    public func reject(_ event: Event, because reason: String) async { await receiver.failed(self, at: event, reason) }

    /// Whether they are still of the stream there is: not after the database went back.
    package var isPresent: Bool { get async { await receiver.isPresent(self) } }

    /// Whether the session they came in goes on, and they are of the stream there is.
    package var isCurrent: Bool { get async { await receiver.isCurrent(self) } }

    /// They could not be processed: the pusher sends them again after a pause, and logs the reason. Where some are confirmed by
    /// ``confirm(through:)`` the one after these counts as the one that failed.
    public func reject(because reason: String) async { await receiver.failed(self, reason) }
}
