package import EventStream
package import Logging

/// Limits the log lines that peers can cause: by repeating a call, by reconnecting, by failing again and again.
///
/// Each peer may cause a burst of lines of a kind, then one an interval; all peers together may cause so many of a kind. What
/// was left out is counted in the next line of the kind. Memory is bounded: by the kinds, which are literals of the source, and by
/// the number of peers that are remembered.
///
///     if let line = peerLog.line("session started", of: peer.account, at: now) {
///         logger.info("session started", metadata: line.metadata([.consumer: "\(session.consumer)"]))
///     }
///
/// What peers do not cause is for ``TroubleLog``.
package struct PeerLog {
    /// Who causes a line.
    package enum Source: Hashable {
        case account(Account)
        /// Of somebody who was not admitted.
        case address(String)
        /// Nobody knows: a connection over which nothing was heard yet, or several peers together.
        case unknown
    }

    /// What a line tells. A literal, so that no peer can make new kinds.
    package struct Kind: Hashable, ExpressibleByStringLiteral {
        private let name: String
        package init(stringLiteral name: StaticString) { self.name = "\(name)" }
    }

    /// A line that is to be written.
    package struct Line: Hashable {
        /// Lines of this kind that were left out since the last one: of this peer, and of peers that are not remembered any more.
        package let suppressed: Int

        /// The metadata of the line, with the number of those left out if there are any.
        package func metadata(_ metadata: Logger.Fields = [:]) -> Logger.Fields {
            suppressed == 0 ? metadata : metadata.merging([.suppressed: "\(suppressed)"]) { $1 }
        }
    }

    /// How many lines at once, and how long until another one.
    package struct Allowance: Hashable {
        package let burst: Int
        package let interval: Duration

        package init(burst: Int, interval: Duration) { (self.burst, self.interval) = (burst, interval) }
    }

    /// Tokens that come back with time.
    private struct Bucket {
        private var used = 0.0
        private(set) var last: MonotonicTime
        var suppressed = 0

        init(at now: MonotonicTime) { last = now }

        /// Whether there is a token now.
        mutating func has(_ allowance: Allowance, at now: MonotonicTime) -> Bool {
            used = max(0, used - max(0, (now - last) / allowance.interval))
            last = max(last, now)
            return used + 1 <= Double(allowance.burst)
        }

        mutating func take() { used += 1 }

        func isFresh(_ allowance: Allowance, at now: MonotonicTime) -> Bool {
            suppressed == 0 && used <= (now - last) / allowance.interval
        }
    }

    private struct Key: Hashable {
        let source: Source
        let kind: Kind
    }

    private let each: Allowance
    private let all: Allowance
    private let limit: Int
    private var buckets: [Key: Bucket] = [:]
    private var totals: [Kind: Bucket] = [:]

    /// - Parameters:
    ///   - each: what a peer may cause of a kind.
    ///   - all: what all of them together may cause of a kind.
    ///   - limit: pairs of a peer and a kind that are remembered; at least 2.
    package init(
        each: Allowance = .init(burst: 10, interval: .seconds(10)), all: Allowance = .init(burst: 100, interval: .seconds(1)),
        limit: Int = 1024
    ) {
        self.each = each
        self.all = all
        self.limit = max(2, limit)
    }

    /// How many pairs of a peer and a kind are remembered.
    package var count: Int { buckets.count }

    /// The peer has caused a line of this kind.
    ///
    /// - Returns: nil if the line is to be left out.
    package mutating func line(_ kind: Kind, of account: Account, at now: MonotonicTime = .now) -> Line? {
        line(kind, of: .account(account), at: now)
    }

    package mutating func line(_ kind: Kind, of source: Source, at now: MonotonicTime = .now) -> Line? {
        let key = Key(source: source, kind: kind)
        if buckets[key] == nil, buckets.count >= limit { makeRoom(at: now) }
        var mine = buckets[key] ?? Bucket(at: now)
        var total = totals[kind] ?? Bucket(at: now)
        let isAllowed = mine.has(each, at: now)
        guard isAllowed, total.has(all, at: now) else {
            mine.suppressed += 1
            buckets[key] = mine
            totals[kind] = total
            return nil
        }
        let line = Line(suppressed: mine.suppressed + total.suppressed)
        mine.take()
        total.take()
        (mine.suppressed, total.suppressed) = (0, 0)
        buckets[key] = mine
        totals[kind] = total
        return line
    }

    /// Forgets the peers that would be allowed everything again, else the half that was heard of the longest ago.
    private mutating func makeRoom(at now: MonotonicTime) {
        buckets = buckets.filter { !$0.value.isFresh(each, at: now) }
        guard buckets.count > limit / 2 else { return }
        for (key, bucket) in buckets.sorted(by: { $0.value.last < $1.value.last }).prefix(buckets.count - limit / 2) {
            buckets[key] = nil
            // The number is not lost with the peer.
            totals[key.kind]?.suppressed += bucket.suppressed
        }
    }
}
