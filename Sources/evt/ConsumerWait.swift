import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

extension Consumers {
    struct Wait: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Waits until a consumer has confirmed the stream up to an event.",
            discussion: """
                The position is looked at in the database, where the pusher stores the position a moment after a confirmation. The exit \
                status is 0 once the position is reached, 1 if that does not happen within --timeout.
                """)
        @OptionGroup var target: Target<Consumers>
        @Argument(help: "A consumer, as it is listed.") var consumer: String
        @Option(help: "An event id, or head for the newest settled event when the command begins.") var through = "head"
        @Option(help: "How long to wait: 100ms to 7d.") var timeout = "10m"

        func run() async throws {
            let ident = try Consumers.ident(consumer, target)
            let id = through == "head" ? nil : through == "0" ? EventID.none : EventID(through)
            guard through == "head" || id != nil else { throw ValidationError("--through: \(through) is no event id, 0 or head") }
            guard let limit = Duration(text: timeout), limit >= .milliseconds(100), limit <= .seconds(7 * 86_400) else {
                throw ValidationError("--timeout is a time such as 30s or 10m, 100ms to 7d, not \(timeout)")
            }
            let (timeout, database) = (timeout, try await target.flags.read().database())
            let position = try await withDatabase(database.url, .stream(database.tables)) { connection in
                let deadline = ContinuousClock.now + limit
                let info = try await StreamInfo.load(database.tables, from: connection)
                let goal: EventID
                if let id { goal = id } else { goal = try await WriterQueries(info).settledFloor(on: connection) }
                return try await Wait.reached(goal, ident, ConsumerAdmin(info), connection, until: deadline) {
                    "\(ident) is at \($0) and has not reached \(goal) within \(timeout)"
                }
            }
            print("\(ident) is at \(position)")
        }

        /// - Returns: the position that was found in the end.
        private static func reached(
            _ goal: EventID, _ ident: String, _ admin: ConsumerAdmin, _ connection: Connection,
            until deadline: ContinuousClock.Instant, _ failure: (EventID) -> String
        ) async throws -> EventID {
            var pause = Duration.milliseconds(100)
            while true {
                let found: EventID?
                do {
                    found = try await admin.position(of: ident, on: connection)
                } catch {
                    guard error.code == .connectionLost || !connection.isOpen else { throw error }
                    throw CommandFailure(printable("lost the connection to the database while waiting for \(ident): \(error)"))
                }
                guard let position = found else { throw CommandFailure("there is no consumer \(ident)") }
                if position >= goal { return position }
                let left = deadline - .now
                guard left > .zero else { throw CommandFailure(failure(position)) }
                try await Task.sleep(for: min(pause, left))
                pause = min(pause * 2, .seconds(1))
            }
        }
    }
}
