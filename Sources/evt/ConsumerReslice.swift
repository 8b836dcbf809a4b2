import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

extension Consumers {
    struct Reslice: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Cuts a consumer into another number of slices; the order of each key is kept.",
            discussion: """
                Delivery stops for a moment. Then the present receivers get what was recorded up to that moment, and nothing later. Once all \
                slices have confirmed this, and none has parked events, the new slices replace the present ones, and begin there. The \
                receivers of the present slices then end: start receivers with the new number of slices.

                A command that was interrupted goes on where it was when it is run again.
                """)
        static let settings = Settings.facts(of: .database)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String
        @Option(name: .customLong("of"), help: "How many slices: 2 to 256, or 1 for a consumer without slices.") var count: Int?
        @Option(help: "How long to wait for the receivers: 100ms to 7d. After that the consumer keeps its slices.") var timeout =
            "10m"
        @Flag(
            help: """
                Do not wait. The new slices begin at the lowest position of the present ones: events after it that were processed come \
                again, and an inbox does not know them.
                """) var force = false
        @Flag(help: "The consumer keeps the slices it has, after a command was interrupted.") var cancel = false

        func run() async throws {
            let identity = try target.identity(consumer)
            guard identity.component.slice == nil else {
                throw ValidationError("name the consumer, not a slice: \(identity.whole)")
            }
            guard (count == nil) == cancel, !(force && cancel) else {
                throw ValidationError("say --of and how many slices, or --cancel")
            }
            guard count.map({ $0 == 1 || EventSlice.counts.contains($0) }) ?? true else {
                throw ValidationError("--of is 1 to 256, not \(count ?? 0)")
            }
            guard let limit = Duration(text: timeout), limit >= .milliseconds(100), limit <= .seconds(7 * 86_400) else {
                throw ValidationError("--timeout is a time such as 30s or 10m, 100ms to 7d, not \(timeout)")
            }
            let (count, force, timeout) = (count ?? 1, force, timeout)
            let isCanceled = cancel
            let text = try await target.change { admin, connection in
                var work = Reslicing(identity, into: count, by: admin)
                if isCanceled {
                    try await work.cancel(on: connection)
                    return "\(identity) goes on with the slices it has"
                }
                let position =
                    force
                    ? try await work.force(on: connection)
                    : try await Reslice.wait(for: &work, until: .now + limit, timeout, connection)
                let cut = count == 1 ? "no slices" : "\(count) slices"
                let with = count == 1 ? "without slices" : "with \(cut)"
                return "\(identity) has \(cut) now, and goes on after event \(position): start receivers \(with)"
            }
            print(text)
        }

        private static func wait(
            for work: inout Reslicing, until deadline: ContinuousClock.Instant, _ timeout: String, _ connection: Connection
        ) async throws -> EventID {
            var told = ""
            while true {
                let progress: Reslicing.Progress
                do {
                    progress = try await work.advance(on: connection)
                } catch {
                    guard work.hasBegun else { throw error }
                    throw CommandFailure(
                        printable(
                            "\(error); delivery may stand still until the command is run again, or run with --cancel"))
                }
                if case .done(let position) = progress { return position }
                guard ContinuousClock.now < deadline else {
                    try await work.cancel(on: connection)
                    throw CommandFailure("not done within \(timeout), \(progress.text); the consumer keeps the slices it has")
                }
                if progress.text != told { printError(progress.text) }
                told = progress.text
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }
}

extension Reslicing.Progress {
    /// What is waited for, for people.
    fileprivate var text: String {
        switch self {
        case .pushers(let count): "waiting for \(count == 1 ? "a pusher" : "\(count) pushers") to stop delivery"
        case .slices(let slices, let barrier):
            "waiting until event \(barrier) is reached by "
                + slices.map { "\($0.ident)\($0.isServed ? "" : " (no receiver)")" }.joined(separator: ", ")
        case .writers(let writers):
            "waiting for \(writers.count == 1 ? "a transaction" : "\(writers.count) transactions") that may still commit events; "
                + "`evt status` names such transactions"
        case .parked(let idents):
            "waiting for the parked events of \(idents.joined(separator: ", ")): retry or drop them (`evt parked retry`, `evt parked drop`)"
        case .done(let position): "done at event \(position)"
        }
    }
}
