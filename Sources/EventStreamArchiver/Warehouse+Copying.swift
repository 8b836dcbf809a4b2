import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle

/// What is done with events.
extension Warehouse {
    func follow(_ origin: StreamOrigin, from standing: HistoryStore.Standing) async throws -> ArchivePlan.Action {
        let (connection, store) = try link.current()
        let now = try await store.follow(origin, from: standing, on: connection)
        // Another archiver of this name may have done that already; and of a fail-over that lost nothing the pusher tells.
        if now.hasDoubtful, now != standing {
            logger.warning(
                """
                the active database went back, or may have: events after the position it has are compared with the archive; those it \
                lacks are set aside
                """,
                metadata: [
                    .position: "\(now.position)", .last: "\(now.doubtful)", .generation: "\(origin.generation)",
                    .lost: "\(store.tables.lost)",
                ])
        }
        return plan.followed(now)
    }

    /// Asks a pusher for events that were confirmed, and that the warehouse may not have nevertheless.
    func poll(_ endpoint: Int, after: EventID, generation: String?) async throws -> ArchivePlan.Action {
        // Half of what is missing would be a hole.
        guard !Task.isShuttingDownGracefully else { throw CancellationError() }
        do {
            let answer = try await poller(at: endpoint).pollEvents(
                "LIVE", after: after, want: configuration.want.entries, fields: .all, generation: generation)
            // Asked after the poll: what the answer lacks up to there is discarded, and will never come.
            let token = plan.standing?.token
            let discarded = token == nil ? nil : try await introduce(token, token!)?.discarded
            return plan.polled(answer, discarded: discarded ?? .none)
        } catch let error as EventStreamError {
            failure = error
            let isForbidden = [.securityError, .unauthorized].contains(error.code)
            if isForbidden {
                logger.notice(
                    "cannot ask whether the warehouse lacks earlier events: polling is not allowed",
                    metadata: [.error: "\(error)"])
            }
            return plan.pollFailed(isForbidden: isForbidden)
        }
    }

    private func poller(at endpoint: Int) async throws -> PollClient {
        if let poller, poller.endpoint == endpoint { return poller.client }
        await forgetPoller()
        let client = try await PollClient([configuration.connect.list[endpoint]], keys: configuration.keys, loop: link.loop)
        poller = (endpoint, client)
        return client
    }

    func forgetPoller() async {
        let client = poller?.client
        poller = nil
        await client?.close()
    }

    func carryOut(_ copy: ArchivePlan.Copy) async throws -> ArchivePlan.Action {
        let (connection, store) = try link.current()
        guard let first = copy.events.first, let last = copy.events.last else { return plan.copied(0) }
        if let position = copy.lackedSince {
            logger.warning(
                """
                the warehouse is behind what was confirmed for it: was it restored? What is still in the active table is archived \
                now; what was discarded since is not in this warehouse
                """,
                metadata: [.position: "\(position)", .first: "\(first.id)", .last: "\(last.id)"])
        }
        try await link.upkeep.prepare(for: [first.timestamp, last.timestamp], store, on: connection)
        switch try await append(copy, store, on: connection) {
        case .copied(let count, let lost):
            if lost > 0 {
                logger.error(
                    "events that were archived are not in the active database any more; they were set aside",
                    metadata: [
                        .events: "\(lost)", .position: "\(copy.standing.doubtfulAfter)",
                        .last: "\(min(last.id, copy.standing.doubtful))", .lost: "\(store.tables.lost)",
                    ])
            }
            backoff.reset()
            return plan.copied(count)
        case .moved(let now): return plan.moved(to: now)
        }
    }

    private func append(
        _ copy: ArchivePlan.Copy, _ store: HistoryStore, on connection: Connection
    ) async throws -> HistoryStore.Appended {
        do {
            return try await store.append(
                copy.events[...], from: copy.standing, comparing: copy.comparing, completeFrom: copy.completeFrom, on: connection)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            // An archiver of before, which has no lock but its transaction.
            if let holder = try await holder(store, on: connection) {
                throw OtherArchiver(archiver: store.archiver, holder: holder)
            }
            throw error
        } catch let error as PostgresError where error.isOfRowSecurity {
            // A new connection finds out what is so, such as a policy that would hide rows.
            connection.close()
            throw error
        } catch let error as PostgresError {
            if let refused = try await store.refused(among: copy.events[...], because: error, on: connection) { throw refused }
            throw error
        }
    }
}
