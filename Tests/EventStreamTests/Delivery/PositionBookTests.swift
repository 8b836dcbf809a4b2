import EventStream
import EventStreamPusher
import Testing

@Suite struct PositionBookTests {
    private let a = ConsumerIdentity("A")!
    private let b = ConsumerIdentity("B")!

    @Test func manyMovesBecomeOneWrite() {
        var book = PositionBook()
        #expect(book.isEmpty)
        for position in 1...5 { book.note(a, epoch: 1, position: EventID(Int64(position))) }
        book.note(b, epoch: 4, position: 2)
        #expect(
            book.take() == [.init(consumer: a, epoch: 1, position: 5), .init(consumer: b, epoch: 4, position: 2)])
        #expect(!book.hasUnsent)
        #expect(book.isPending(a))
        book.finished([a, b])
        #expect(book.isEmpty)
    }

    @Test func onlyForwardMovesCountWithinASession() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        book.note(a, epoch: 1, position: 4)
        #expect(book.take().map(\.position) == [5])
    }

    @Test func aNewSessionMayStartFurtherBack() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        book.note(a, epoch: 2, position: 3)
        #expect(book.take() == [.init(consumer: a, epoch: 2, position: 3)])
    }

    @Test func oneWriteAtATime() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        #expect(book.take().count == 1)
        book.note(a, epoch: 1, position: 6)
        #expect(book.take().isEmpty)
        book.finished([a])
        #expect(book.take().map(\.position) == [6])
    }

    @Test func aFailedWriteIsTriedAgainUnlessSomethingNewerCame() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        book.note(b, epoch: 1, position: 5)
        _ = book.take()
        book.note(b, epoch: 1, position: 9)
        book.finished([])
        #expect(book.take().map(\.position) == [5, 9])
    }

    @Test func aForgottenConsumerIsNotStored() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        book.forget(.init(consumer: a, epoch: 1, position: 5))
        #expect(!book.isPending(a))
        #expect(book.take().isEmpty)
    }

    @Test func whatIsNewerThanWhatWasStoredStays() {
        var book = PositionBook()
        book.note(a, epoch: 1, position: 5)
        book.forget(.init(consumer: a, epoch: 1, position: 4))
        #expect(book.entry(of: a)?.position == 5)
        book.note(a, epoch: 2, position: 3)
        book.forget(.init(consumer: a, epoch: 1, position: 5))
        #expect(book.take().map(\.epoch) == [2])
        #expect(book.entry(of: a)?.epoch == 2)
    }
}
