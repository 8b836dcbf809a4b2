import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

extension Archive {
    struct Expire: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drops the months of the history that had ended by a time.",
            discussion: """
                evt archive expire --keep 400d
                evt archive expire --keep 400d --yes

                Without --yes the command prints what would go, and nothing is done. A month goes only if all of its events are archived, \
                and discarded in the active table. Consumers can begin after the last event that goes. What goes is recorded: \
                `evt archive expired` lists the record, and `evt archive verify` does not miss these events.
                """)
        @OptionGroup var target: Target
        @Option(help: "A time; UTC, like 2026-11-24 or 2026-11-24T08:30:00Z.") var before: String?
        @Option(help: "How much of the past stays, like 400d, by the clock of the warehouse.") var keep: String?
        @Option(help: "Why; kept with the record.") var reason: String?
        @Flag(help: "Drop them.") var yes = false

        func validate() throws {
            guard (before == nil) != (keep == nil) else { throw ValidationError("name a time: either --before or --keep") }
            guard reason.map({ !$0.allSatisfy(\.isWhitespace) }) ?? true else {
                throw ValidationError("--reason: say why, or leave it out")
            }
        }

        func run() async throws {
            let (limit, reason, yes) = (try limit(), reason, yes)
            try await target.connected { active, warehouse in
                let expiry = HistoryExpiry(active.info, warehouse.history)
                let plan = try await expiry.plan(limit, active: active.connection, warehouse: warehouse.connection)
                for case (let month, .stays(let why)) in plan.months { print("\(month.name)  stays: \(printable(why))") }
                guard !plan.going.isEmpty else {
                    print("no month of \(warehouse.history.tables.history) goes that had ended before \(plan.before) UTC")
                    return
                }
                if let last = plan.last {
                    for consumer in try await expiry.consumers(before: last, active: active.connection) {
                        print(
                            "\(printable(consumer.ident)) is at \(consumer.position): it will get HistoryUnavailable, and miss events up to \(last)"
                        )
                    }
                }
                for month in plan.going {
                    var events = month.events
                    if yes {
                        events = try await MonthExpiry(warehouse.history, month)
                            .carryOut(before: plan.before, because: reason, on: warehouse.connection)
                    }
                    print(Expire.line(month.name, events, month.ids) + (yes ? ", dropped" : ""))
                }
                guard yes else {
                    throw CommandFailure(
                        "\(plan.events) events would be dropped, and nothing has been done: run the command with --yes to drop them"
                    )
                }
                if let last = plan.last { print("consumers can begin after event \(last)") }
            }
        }

        private func limit() throws -> HistoryExpiry.Limit {
            if let time = try eventTime(before, of: "--before") { return .before(time) }
            guard let keep, let duration = Duration(text: keep) else {
                throw ValidationError("--keep: \(keep ?? "") is no duration; one is like 400d")
            }
            return .keep(duration)
        }

        /// What goes, or has gone, of a month.
        static func line(_ month: String, _ events: Int, _ ids: ClosedRange<EventID>?) -> String {
            "\(month)  \(events) events" + (ids.map { ", \($0.lowerBound) to \($0.upperBound)" } ?? "")
        }
    }

    struct Expired: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Lists what was dropped from the history by `evt archive expire`.")
        static let settings = Settings.facts(of: .archive)
        @OptionGroup var flags: SettingFlags<Self>

        func run() async throws {
            let settings = try await flags.read()
            let tables = try settings.archiveTables()
            let records = try await withDatabase(try settings.archive(), .archive(tables)) { connection in
                let archiver = ConsumerIdentity(component: .archiver)
                let history = try await HistoryStore.load(tables, archiver: archiver, from: connection, writing: false)
                return try await ExpiredMonths(history).list(on: connection)
            }
            for record in records {
                print(
                    Expire.line(record.month, record.events, record.ids)
                        + "  dropped \(record.at) by \(printable(record.role)), to end before \(record.before)"
                        + (record.reason.map { ": \(printable($0))" } ?? ""))
            }
        }
    }
}
