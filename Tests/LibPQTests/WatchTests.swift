import Glibc
import PosixLoop
import TestSupport
import Testing

struct WatchTests {
    private final class Pipe {
        let reading: Int32
        private(set) var writing: Int32

        init() {
            var ends: [Int32] = [-1, -1]
            precondition(pipe(&ends) == 0)
            (reading, writing) = (ends[0], ends[1])
            for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        }

        deinit {
            close(reading)
            closeWriting()
        }

        func write(_ text: String) { _ = Glibc.write(writing, text, text.utf8.count) }

        /// Reads at most `count` bytes; empty at the end of the data.
        func read(_ count: Int = 100) -> String {
            var bytes = [UInt8](repeating: 0, count: count)
            let length = Glibc.read(reading, &bytes, count)
            return String(decoding: bytes.prefix(max(length, 0)), as: UTF8.self)
        }

        func closeWriting() {
            if writing >= 0 { close(writing) }
            writing = -1
        }
    }

    @Test func aWatchReportsEveryArrival() async throws {
        try await onLoop { loop in
            let pipe = Pipe()
            let read = Log<String>()
            let watch = loop.watch(pipe.reading, for: .readable) { readiness in
                #expect(readiness == .readable)
                read.add(pipe.read())
            }
            for word in ["one", "two", "three"] {
                pipe.write(word)
                try await eventually("it is read") { read.entries.last == word }
            }
            #expect(read.entries == ["one", "two", "three"])
            watch.cancel()
        }
    }

    @Test func whatIsLeftUnreadIsReportedAgain() async throws {
        try await onLoop { loop in
            let pipe = Pipe()
            let read = Log<String>()
            let watch = loop.watch(pipe.reading, for: .readable) { _ in read.add(pipe.read(1)) }
            pipe.write("letters")
            try await eventually("all is read") { read.entries.joined() == "letters" }
            watch.cancel()
        }
    }

    @Test func aCancelledWatchIsNotCalledAgain() async throws {
        try await onLoop { loop in
            let (first, second) = (Pipe(), Pipe())
            let calls = Log<String>()
            let cancelled = loop.watch(first.reading, for: .readable) { _ in calls.add("cancelled") }
            let kept = loop.watch(second.reading, for: .readable) { _ in calls.add("kept \(second.read())") }
            cancelled.cancel()
            cancelled.cancel()
            first.write("x")
            second.write("y")
            try await eventually("the other is called") { calls.count > 0 }
            #expect(calls.entries == ["kept y"])
            kept.cancel()
        }
    }

    @Test func aCancelledWatchHoldsNothing() async throws {
        final class Owner {
            var watch: Watch?
            deinit { watch?.cancel() }
        }
        try await onLoop { loop in
            let pipe = Pipe()
            weak var observed: Owner?
            do {
                let owner = Owner()
                observed = owner
                owner.watch = loop.watch(pipe.reading, for: .readable) { _ in withExtendedLifetime(owner) {} }
                owner.watch?.cancel()
            }
            #expect(observed == nil)
        }
    }

    @Test func aWatchCancelledByAnotherInTheSameTurnIsNotCalled() async throws {
        try await onLoop { loop in
            let pipes = (0..<5).map { _ in Pipe() }
            for pipe in pipes { pipe.write("x") }
            let calls = Log<Int>()
            var watches: [Watch] = []
            for (index, pipe) in pipes.enumerated() {
                watches.append(
                    loop.watch(pipe.reading, for: .readable) { _ in
                        calls.add(index)
                        for watch in watches { watch.cancel() }
                    })
            }
            try await eventually("one is called") { calls.count > 0 }
            let fence = Log<Void>()
            loop.schedule(after: .milliseconds(5)) { fence.add(()) }
            try await eventually("further turns have passed") { fence.count == 1 }
            #expect(calls.count == 1)
        }
    }

    @Test func theInterestMayChange() async throws {
        try await onLoop { loop in
            let pipe = Pipe()
            let calls = Log<DescriptorEvents>()
            let watch = loop.watch(pipe.writing, for: []) { calls.add($0) }
            let fence = Log<Void>()
            loop.schedule(after: .milliseconds(5)) { fence.add(()) }
            try await eventually("some turns have passed") { fence.count == 1 }
            #expect(calls.count == 0)
            watch.interest = .writable
            try await eventually("it is called") { calls.count > 0 }
            watch.interest = []
            #expect(calls.entries.allSatisfy { $0 == .writable })
            watch.cancel()
        }
    }

    @Test func aHangUpIsReadyForBoth() async throws {
        try await onLoop { loop in
            let pipe = Pipe()
            let calls = Log<DescriptorEvents>()
            let watch = loop.watch(pipe.reading, for: .readable) { calls.add($0) }
            pipe.closeWriting()
            try await eventually("it is called") { calls.count > 0 }
            watch.cancel()
            #expect(calls.entries.first == [.readable, .writable])
        }
    }

    @Test func aWatchMayBeMadeByAWatch() async throws {
        try await onLoop { loop in
            let (first, second) = (Pipe(), Pipe())
            let read = Log<String>()
            var inner: Watch?
            second.write("inner")
            let outer = loop.watch(first.reading, for: .readable) { _ in
                read.add(first.read())
                inner = loop.watch(second.reading, for: .readable) { _ in read.add(second.read()) }
            }
            first.write("outer")
            try await eventually("both are read") { read.count == 2 }
            #expect(read.entries == ["outer", "inner"])
            outer.cancel()
            inner?.cancel()
        }
    }

    // MARK: Sources

    /// Has things to do that its descriptor knows nothing of, as an edge-triggered one does.
    private final class Source: PollSource {
        private let pipe = Pipe()
        var left: Int
        var onDispatch: () -> Void = {}
        var descriptor: Int32 { pipe.reading }

        init(_ left: Int) { self.left = left }

        func descriptorFired() {}
        func isReady() -> Bool { left > 0 }

        func dispatch() {
            left -= 1
            onDispatch()
        }
    }

    @Test func aSourceIsServedUntilNothingIsLeftThoughItsDescriptorIsSilent() async throws {
        try await onLoop { loop in
            let source = Source(10_000)
            loop.add(source)
            try await eventually("nothing is left") { source.left == 0 }
            source.left = 5
            // Any wake-up makes the loop ask again before it sleeps.
            loop.execute {}
            try await eventually("nothing is left") { source.left == 0 }
            loop.remove(source)
        }
    }

    @Test func aSourceThatIsAlwaysReadyStarvesNobody() async throws {
        try await onLoop { loop in
            let source = Source(.max)
            loop.add(source)
            let pipe = Pipe()
            let others = Log<String>()
            let watch = loop.watch(pipe.reading, for: .readable) { _ in others.add("watch \(pipe.read())") }
            pipe.write("x")
            loop.schedule(after: .milliseconds(1)) { others.add("timer") }
            try await eventually("the others have run") { others.count == 2 }
            #expect(Set(others.entries) == ["watch x", "timer"])
            watch.cancel()
            loop.remove(source)
        }
    }

    @Test func aRemovedSourceIsNotServed() async throws {
        try await onLoop { loop in
            let source = Source(.max)
            source.onDispatch = { [unowned source] in loop.remove(source) }
            loop.add(source)
            let fence = Log<Void>()
            loop.schedule(after: .milliseconds(5)) { fence.add(()) }
            try await eventually("some turns have passed") { fence.count == 1 }
            #expect(source.left == .max - 1)
        }
    }
}
