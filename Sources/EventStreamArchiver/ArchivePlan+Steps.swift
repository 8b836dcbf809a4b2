import EventStream
import EventStreamDatabase

/// What the plan is told to do, and what it tells to do.
extension ArchivePlan {
    typealias Standing = HistoryStore.Standing

    enum Work: Hashable {
        /// Copy events that came in a session.
        case append([Event], of: StreamOrigin?, session: Int)
        /// Be ready for the session, and give a sign of life; without a session, leave the position to others.
        case look(session: Int?)
    }

    /// Events to be copied, and how the archiver believes to stand.
    struct Copy: Hashable {
        let events: [Event]
        let standing: Standing
        /// Whether some may be there already.
        let comparing: Bool
        /// The position at which the warehouse was found to lack these events; nil for those of the batch.
        let lackedSince: EventID?
        /// The archive is complete from here on only; nil if nothing new is known of that.
        let completeFrom: EventID?
    }

    enum Action: Hashable {
        /// ``connected(_:)``
        case connect
        /// Take the lock of the archiver's name: ``lockTaken()``.
        case takeLock
        /// ``lockGivenUp()``
        case giveUpLock
        /// ``found(_:)``
        case readPosition
        /// Tell the pusher which token is in the warehouse, and which will be: ``introduced(as:)``, ``introducedInVain()``.
        case introduce(known: String?)
        /// Write the token beside the position: ``signed()``.
        case sign(String, insteadOf: String?)
        /// Let the position be of the events' generation: ``followed(_:)``.
        case follow(StreamOrigin, from: Standing)
        /// Ask this one of the pushers for what is wanted after an id: ``polled(_:discarded:)``, ``pollFailed(isForbidden:)``.
        case poll(endpoint: Int, after: EventID, generation: String?)
        /// ``pinged()``
        case ping
        /// Whether the history holds events from one id through another: ``searched(_:)``.
        case search(from: EventID, through: EventID, want: EventFilter)
        /// ``copied(_:)``, ``moved(to:)``
        case copy(Copy)
        /// The work is done; so many events were new.
        case done(Int)
        /// The work is given up; for what failed, where there is no refusal.
        case fail(Refusal?)
    }

    /// Why the plan itself gives work up.
    enum Refusal: Hashable {
        /// The archiver has no position in the warehouse any more.
        case positionGone
        /// Another archiver has written its token beside the position.
        case takenOver
        /// The position is of another generation than the events.
        case otherGeneration
        /// There is no pusher to ask for missing events.
        case nobodyToAsk
    }

    enum State: Hashable {
        case idle
        case connecting
        case locking
        /// The position is read before the archiver introduces itself.
        case reading
        case introducing(known: String?)
        case signing(String)
        /// The lock is given up, because this archiver may not have the position, or because there is no session.
        case givingUp(isRefused: Bool)
        case following
        /// The position is read before missing events are asked for.
        case recalling
        case polling(Missing)
        /// Others must not take this archiver for frozen between two polls.
        case pollPinging(Missing)
        case searching([Event], Missing?)
        case copying([Event], Missing?)
        case pinging
    }

    /// What the warehouse lacks before a batch, as far as it is known.
    struct Missing: Hashable {
        /// The pusher that is asked.
        var endpoint = 0
        /// The position from which on events are asked for.
        let position: EventID
        /// How far answers have come.
        var next: EventID
        var isMore = true
        /// What is not copied yet.
        var events: [Event] = []
    }
}
