import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// What the processes' tables must be, looked at with every connection.
@Suite(.serialized) struct TableGuardTests {
    private static let active = [
        "evt_queue", "evt_queue_3", "evt_consumers", "evt_queue_state", "evt_queue_pushers", "evt_queue_migrations",
    ]
    private static let warehouse = [
        "evt_history", "evt_history_default", "evt_history_positions", "evt_history_sums", "evt_history_lost",
        "evt_history_migrations",
    ]
    private static let archiver = ConsumerIdentity(component: .archiver)

    private static func load(_ url: String, isActive: Bool, writing: Bool) async throws {
        try await TestDatabase.connected(to: url) { connection in
            if isActive {
                _ = try await StreamInfo.load(.standard, from: connection, writing: writing)
            } else {
                _ = try await HistoryStore.load(.standard, archiver: archiver, from: connection, writing: writing)
            }
        }
    }

    private static func refusal(_ url: String, isActive: Bool, writing: Bool = true) async -> String {
        do {
            try await load(url, isActive: isActive, writing: writing)
            return "nothing was refused"
        } catch let error as StoreError {
            return error.message
        } catch {
            return "no StoreError, but \(error)"
        }
    }

    @Test(arguments: [true, false])
    func aPolicyOnAnyTableIsRefusedToARoleThatItAppliesTo(_ isActive: Bool) async throws {
        try await TestDatabase.with(isActive ? .active : .warehouse) { url in
            let login = isActive ? TestLogin.pusher : .archiver
            for table in isActive ? Self.active : Self.warehouse {
                try await TestDatabase.execute("ALTER TABLE \(table) ENABLE ROW LEVEL SECURITY", on: url)
                let refused = await Self.refusal(TestDatabase.url(url, as: login), isActive: isActive, writing: false)
                #expect(refused.contains("public.\(table) applies to the role \(login.name)"), "\(refused)")
                #expect(refused.contains("DISABLE ROW LEVEL SECURITY") && refused.contains("BYPASSRLS"))
                // A superuser sees everything.
                try await Self.load(url, isActive: isActive, writing: true)
                try await TestDatabase.execute("ALTER TABLE \(table) DISABLE ROW LEVEL SECURITY", on: url)
                try await Self.load(TestDatabase.url(url, as: login), isActive: isActive, writing: true)
            }
        }
    }

    @Test(arguments: [true, false])
    func aTableThatASubscriptionFeedsIsRefusedToWhoWrites(_ isActive: Bool) async throws {
        try await TestDatabase.with(isActive ? .active : .warehouse) { url in
            let login = isActive ? TestLogin.discarder : .archiver
            let name = "evt_sub_\(UInt64.random(in: 0...UInt64.max))"
            try await TestDatabase.execute(
                """
                CREATE SUBSCRIPTION \(name) CONNECTION 'dbname=nowhere' PUBLICATION nothing
                    WITH (connect = false, enabled = false, create_slot = false, slot_name = NONE)
                """, on: url)
            let outcome: Result<Void, any Error>
            do {
                for table in isActive ? Self.active : Self.warehouse {
                    try await TestDatabase.execute(
                        """
                        SET allow_system_table_mods = on; DELETE FROM pg_subscription_rel WHERE srsubid =
                            (SELECT oid FROM pg_subscription WHERE subname = '\(name)');
                        INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
                            SELECT oid, '\(table)'::regclass, 'r' FROM pg_subscription WHERE subname = '\(name)'
                        """, on: url)
                    let refused = await Self.refusal(TestDatabase.url(url, as: login), isActive: isActive)
                    #expect(refused.contains("a logical subscription writes into public.\(table):"), "\(refused)")
                    // Whoever only reads may.
                    try await Self.load(TestDatabase.url(url, as: .monitor), isActive: isActive, writing: false)
                }
                outcome = .success(())
            } catch {
                outcome = .failure(error)
            }
            try await TestDatabase.execute("DROP SUBSCRIPTION \(name)", on: url)
            try outcome.get()
        }
    }

    @Test(arguments: ["LATIN1", "SQL_ASCII"])
    func anEncodingOtherThanUTF8IsRefused(_ encoding: String) async throws {
        let name = "evt_test_\(UInt64.random(in: 0...UInt64.max))"
        let url = TestDatabase.url(of: name)
        try await TestDatabase.execute(
            "CREATE DATABASE \(name) ENCODING '\(encoding)' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
            on: TestDatabase.url(of: "postgres"))
        let outcome: Result<Void, any Error>
        do {
            for isActive in [true, false] {
                let error = await #expect(throws: StoreError.self) {
                    try await TestDatabase.connected(to: url) { connection in
                        if isActive {
                            _ = try await Migrator.migrateActive(.standard, on: connection)
                        } else {
                            _ = try await Migrator.migrateWarehouse(.standard, on: connection)
                        }
                    }
                }
                #expect(error?.message.contains("is \(encoding), and must be UTF8") == true)
            }
            // Tables that were made by other means.
            let tables = StreamTables(events: TableName("public.evt_queue")!, consumers: TableName("public.evt_consumers")!)
            let history = ArchiveTables(history: TableName("public.evt_history")!)
            try await TestDatabase.execute(Migrator.script(tables.schema), on: url)
            try await TestDatabase.execute(Migrator.script(history.schema), on: url)
            for isActive in [true, false] {
                let refused = await Self.refusal(url, isActive: isActive)
                #expect(refused.contains("is \(encoding), and must be UTF8"), "\(refused)")
            }
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        try await TestDatabase.execute("DROP DATABASE IF EXISTS \(name) WITH (FORCE)", on: TestDatabase.url(of: "postgres"))
        try outcome.get()
    }
}
