import TestSupport
import Testing

@testable import LibPQ

@Suite(.serialized) struct NotificationTests {
    @Test func notificationsOfOthersArriveInOrder() async throws {
        try await withConnection { connection, url in
            let heard = Log<Notification>()
            connection.onNotification = { heard.add($0) }
            try await connection.query("LISTEN news")
            let sender = try await TestDatabase.connected(to: url) { other in
                for number in 0..<50 { try await other.query("SELECT pg_notify('news', $1)", [.text("item \(number)")]) }
                return other.backendProcessID
            }
            try await eventually("all are heard") { heard.count == 50 }
            #expect(
                heard.entries == (0..<50).map { Notification(channel: "news", payload: "item \($0)", processID: sender) })
        }
    }

    @Test func aConnectionHearsItself() async throws {
        try await withConnection { connection, _ in
            let heard = Log<Notification>()
            connection.onNotification = { heard.add($0) }
            try await connection.query("LISTEN news")
            try await connection.query("NOTIFY news")
            try await eventually("it is heard") { heard.count == 1 }
            #expect(
                heard.entries == [Notification(channel: "news", payload: "", processID: connection.backendProcessID)])
        }
    }

    @Test func onlyCommittedNotificationsOnChannelsListenedToAreHeard() async throws {
        try await withConnection { connection, url in
            let heard = Log<String>()
            connection.onNotification = { heard.add($0.payload) }
            try await connection.query("LISTEN news")
            try await TestDatabase.execute("BEGIN; NOTIFY news, 'rolled back'; ROLLBACK", on: url)
            try await TestDatabase.execute("NOTIFY other, 'another channel'", on: url)
            try await TestDatabase.execute("NOTIFY news, 'committed'", on: url)
            try await eventually("it is heard") { heard.count >= 1 }
            try await connection.query("UNLISTEN news")
            try await TestDatabase.execute("NOTIFY news, 'too late'", on: url)
            // A round trip: whatever was on its way has arrived before its answer.
            try await connection.query("SELECT 1")
            #expect(heard.entries == ["committed"])
        }
    }

    @Test func theLongestPayloadAndAnOddChannelNameArrive() async throws {
        try await withConnection { connection, url in
            let heard = Log<Notification>()
            connection.onNotification = { heard.add($0) }
            let channel = "Odd \"channel\" name"
            let payload = String(repeating: "p", count: 7999)
            try await connection.query(Statement("LISTEN \(quotedIdentifier(channel))"))
            try await TestDatabase.execute("NOTIFY \(quotedIdentifier(channel)), \(quotedLiteral(payload))", on: url)
            try await eventually("it is heard") { heard.count == 1 }
            #expect(heard.entries.first?.channel == channel)
            #expect(heard.entries.first?.payload == payload)
        }
    }

    @Test func notificationsArriveAmidstOtherWork() async throws {
        try await withConnection { connection, url in
            let heard = Log<String>()
            let answers = Log<String?>()
            connection.onNotification = { heard.add($0.payload) }
            try await connection.query("LISTEN news")
            for number in 0..<200 {
                connection.submit("SELECT $1::text, pg_notify('news', $1)", [.text("\(number)")]) { answers.add($0.text) }
            }
            try await TestDatabase.execute("NOTIFY news, 'from outside'", on: url)
            try await connection.copyOut("COPY (SELECT generate_series(1, 100000)) TO STDOUT") { _ in }
            try await eventually("all are heard") { heard.count == 201 }
            let all = (0..<200).map { "\($0)" }
            #expect(answers.entries == all)
            #expect(heard.entries.filter { $0 != "from outside" } == all)
        }
    }

    @Test func aHandlerMayCloseTheConnection() async throws {
        try await withConnection { connection, url in
            let heard = Log<String>()
            connection.onNotification = { [unowned connection] in
                heard.add($0.payload)
                connection.close()
            }
            try await connection.query("LISTEN news")
            try await TestDatabase.execute("NOTIFY news, 'one'; NOTIFY news, 'two'", on: url)
            try await eventually("the connection is closed") { !connection.isOpen }
            #expect(heard.entries == ["one"])
        }
    }
}
