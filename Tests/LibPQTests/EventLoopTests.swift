import Glibc
import PosixLoop
import Synchronization
import TestSupport
import Testing

struct EventLoopTests {
    @Test func workRunsInTheOrderItWasSubmitted() async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let seen = Mutex<[Int]>([])
        for number in 0..<1000 {
            loop.execute { seen.withLock { $0.append(number) } }
        }
        try await eventually("all have run") { seen.withLock { $0.count } == 1000 }
        #expect(seen.withLock { $0 } == Array(0..<1000))
    }

    @Test func workOfManyThreadsRunsOnceAndInEachOnesOrder() async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let seen = Mutex<[[Int]]>(Array(repeating: [], count: 8))
        await withTaskGroup(of: Void.self) { group in
            for submitter in 0..<8 {
                group.addTask { @Sendable in
                    for number in 0..<500 { loop.execute { seen.withLock { $0[submitter].append(number) } } }
                }
            }
        }
        try await eventually("all have run") { seen.withLock { $0.map(\.count).reduce(0, +) } == 4000 }
        #expect(seen.withLock { $0 } == Array(repeating: Array(0..<500), count: 8))
    }

    @Test func workSubmittedByWorkRunsToo() async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let depth = Mutex(0)
        @Sendable func deeper() {
            let again = depth.withLock { depth in
                depth += 1
                return depth < 1000
            }
            if again { loop.execute { deeper() } }
        }
        loop.execute { deeper() }
        try await eventually("all have run") { depth.withLock { $0 } == 1000 }
    }

    @Test func anActorOfTheLoopRunsOnItsThread() async throws {
        let home = LoopActor()
        defer { home.loop.stop() }
        #expect(!home.loop.isOnLoop)
        try await home.run { loop in
            #expect(loop.isOnLoop)
            home.assertIsolated()
            // And comes back to it after every wait.
            for _ in 0..<10 {
                await Task.yield()
                #expect(loop.isOnLoop)
            }
            try await Task.sleep(for: .microseconds(1))
            #expect(loop.isOnLoop)
        }
        #expect(!home.loop.isOnLoop)
    }

    @Test func whatIsWaitedForIsLookedAtOnTheThread() async throws {
        try await onLoop { loop in
            let asked = Log<Bool>()
            try await eventually("the condition has been asked a few times") {
                asked.add(loop.isOnLoop)
                return asked.count == 3
            }
            #expect(asked.entries == [true, true, true])
        }
    }

    @Test func actorsOfOneLoopShareItsThread() async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let (first, second) = (LoopActor(loop: loop), LoopActor(loop: loop))
        await first.run { _ in
            second.assertIsolated()
            await second.run { #expect($0.isOnLoop) }
            #expect(loop.isOnLoop)
        }
    }

    @Test func twoLoopsAreTwoThreads() async throws {
        let (first, second) = (LoopActor(), LoopActor())
        defer {
            first.loop.stop()
            second.loop.stop()
        }
        await first.run { loop in
            #expect(!second.loop.isOnLoop)
            await second.run { #expect($0.isOnLoop && !loop.isOnLoop) }
            #expect(loop.isOnLoop)
        }
    }

    @Test func anErrorOfTheBodyIsThrownToTheCaller() async throws {
        struct Refused: Error {}
        var thrown: (any Error)?
        do { try await onLoop { _ in throw Refused() } } catch { thrown = error }
        #expect(thrown is Refused)
    }

    @Test func stoppingRunsWhatWasSubmittedBefore() async throws {
        let count = Mutex(0)
        let loop = EventLoop()
        for _ in 0..<1000 { loop.execute { count.withLock { $0 += 1 } } }
        loop.stop()
        loop.stop()
        try await eventually("all have run") { count.withLock { $0 } == 1000 }
    }

    @Test func stoppingEndsTheThreadWithTimersAndWatchesPending() async throws {
        weak var observed: EventLoop?
        do {
            let loop = EventLoop()
            observed = loop
            let ready = Mutex(false)
            loop.execute {
                // What is still to come may hold the loop itself.
                loop.schedule(after: .seconds(3600)) { loop.assertOnLoop() }
                _ = loop.watch(STDIN_FILENO, for: []) { _ in loop.assertOnLoop() }
                ready.withLock { $0 = true }
            }
            try await eventually("the timer is pending") { ready.withLock { $0 } }
            loop.stop()
        }
        // The thread holds the loop as long as it runs.
        try await eventually("the thread has ended") { observed == nil }
    }

    @Test func workSubmittedTooLateIsLetGoOf() async throws {
        final class Held: Sendable {}
        struct Observed: Sendable { weak var held: Held? }
        let loop = EventLoop()
        let pending = Mutex<Observed?>(nil)
        loop.execute {
            let held = Held()
            pending.withLock { $0 = Observed(held: held) }
            loop.schedule(after: .seconds(3600)) { withExtendedLifetime(held) {} }
            loop.stop()
        }
        // Timers go last.
        try await eventually("the loop has ended") { pending.withLock { $0.map { $0.held == nil } ?? false } }
        weak var late: Held?
        do {
            let held = Held()
            late = held
            loop.execute { withExtendedLifetime(held) {} }
        }
        #expect(late == nil)
    }
}
