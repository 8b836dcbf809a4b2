import EventStream
import EventStreamArchiver
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// Who archives under a name, and how one that is frozen or gone is told from one that lives.
@Suite struct ArchiverLockTests {
    private static func with(
        _ body:
            nonisolated(nonsending) @Sendable (_ store: HistoryStore, _ first: Connection, _ second: Connection) async throws ->
            Void
    ) async throws {
        try await TestDatabase.with(.warehouse) { url in
            let mine = TestDatabase.url(url, as: .archiver) + " application_name="
            try await TestDatabase.connected(to: mine + "first") { first in
                let second = try await Connection.open(mine + "second", on: first.loop)
                defer { second.close() }
                let store = try await HistoryStore.load(
                    .standard, archiver: ConsumerIdentity(component: .archiver), from: first)
                _ = try await store.begin(.all, on: first)
                try await body(store, first, second)
            }
        }
    }

    @Test func oneOfANameIsAtWorkAndNamed() async throws {
        try await Self.with { store, first, second in
            #expect(try await store.takeLock(keepAlive: .seconds(5), on: first))
            #expect(try await !store.takeLock(keepAlive: .seconds(5), on: second))
            let found = try await store.holder(on: second)
            let holder = try #require(found)
            #expect(holder.description.contains("application first, from 127.0.0.1, connected since 20"), "\(holder)")
            let other = try await HistoryStore.load(
                .standard, archiver: ConsumerIdentity(component: ConsumerComponent("OTHER")!), from: second)
            #expect(try await other.takeLock(keepAlive: .seconds(5), on: second), "another name")
            try await store.giveUpLock(on: first)
            #expect(try await store.holder(on: second) == nil)
            #expect(try await store.takeLock(keepAlive: .seconds(5), on: second))
        }
    }

    @Test func onlyOneThatGivesNoSignOfLifeIsEnded() async throws {
        try await Self.with { store, first, second in
            #expect(try await store.takeLock(keepAlive: .milliseconds(100), on: first))
            var watch = SilenceWatch()
            try await store.ping(on: first)
            let found = try await store.holder(on: second)
            let living = try #require(found)
            let isGone = watch.isGone(living)
            #expect(!isGone || (living.silence ?? .zero) > .milliseconds(300))
            // Somebody has spoken since he was looked at: nothing happens.
            let silent = try await eventually("silence") {
                let holder = try await store.holder(on: second)
                return holder.flatMap { watch.isGone($0) ? $0 : nil }
            }
            try await store.ping(on: first)
            try await store.end(silent, on: second)
            #expect(first.isOpen)
            try await eventually("its end") {
                if let holder = try await store.holder(on: second), watch.isGone(holder) {
                    try await store.end(holder, on: second)
                }
                return try await store.takeLock(keepAlive: .milliseconds(100), on: second)
            }
        }
    }

    /// A frozen archiver of before, which has the position's row and no lock.
    @Test func whoHasTheRowInATransactionIsAHolderToo() async throws {
        try await Self.with { store, first, second in
            try await first.query("BEGIN")
            try await store.rewind(to: .none, on: first)
            let holder = try await store.holder(on: second)
            #expect(holder?.description.contains("application first") == true)
            try await first.query("ROLLBACK")
            #expect(try await store.holder(on: second) == nil)
        }
    }

    /// In the midst of COPY no time shows whether anything has come: it must have been seen to stand still.
    @Test func oneThatSendsSlowlyIsNotEnded() {
        let holder = HistoryStore.Holder(
            processID: 1, application: "", address: "", since: "", silence: .seconds(60), keepAlive: .seconds(5), isSending: true,
            received: 10)
        var further = holder
        further.received = 11
        var watch = SilenceWatch()
        let now = MonotonicTime.now
        let looks = [
            watch.isGone(holder, at: now), watch.isGone(holder, at: now + .seconds(15)),
            watch.isGone(further, at: now + .seconds(16)), watch.isGone(further, at: now + .seconds(31)),
            watch.isGone(further, at: now + .seconds(32)),
        ]
        #expect(looks == [false, false, false, false, true])
    }
}
