import EventStream
import EventStreamDatabase
import EventStreamGenerator

/// What a transaction does, and how it ends; without a connection, so that a seed tells all of it.
struct MixTransaction {
    enum Kind: String, CaseIterable {
        /// One event by itself.
        case single
        /// 1 to 100 events, by function and by INSERT.
        case several
        /// With a pause of up to 20 ms after ids were drawn.
        case paused
        /// With a pause of up to a second: holds the stream back.
        case long
        case savepoints
        case prepared
        case copy = "COPY"
        case select = "INSERT SELECT"
        /// Ids that nobody will ever use.
        case jump
        /// Its connection is terminated before it could commit.
        case terminated

        /// What leaves nothing open for long.
        static let quick: Set<Kind> = [.single, .several, .savepoints, .copy, .select, .jump]
    }

    enum Step {
        case call(Recorder.Draft)
        case insert(Recorder.Draft)
        case copy([Recorder.Draft])
        case select(EventType, count: Int)
        case pause(milliseconds: Int)
        case savepoint, rollBackToSavepoint, releaseSavepoint
        /// Draws ids and drops them, as a crash does with the 32 the server has logged ahead.
        case skip(Int)
        case jump(Int)
        case terminate
    }

    enum Ending {
        /// A single statement, which commits by itself.
        case alone
        case commit
        case rollBack
        /// Stays prepared for a while; whoever is free then ends it.
        case prepare(milliseconds: Int, commits: Bool)
        case lost
    }

    let kind: Kind
    let steps: [Step]
    let ending: Ending
}

extension EventType {
    static let mixOften = EventType("MIX_OFTEN")!
    static let mixOther = EventType("MIX_OTHER")!
    static let mixSome = EventType("MIX_SOME")!
    static let mixRare = EventType("MIX_RARE")!
    /// Events whose way is timed.
    static let probe = EventType("PROBE")!

    static let mix: [EventType] = [.mixOften, .mixOther, .mixSome, .mixRare]
}
