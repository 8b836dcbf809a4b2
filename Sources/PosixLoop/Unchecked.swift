/// Carries a value of a loop's thread through a `@Sendable` closure that runs on the same thread.
/// `@unchecked Sendable`: it is only ever opened on the loop it was made for.
package struct Unchecked<Value>: @unchecked Sendable {
    package let value: Value
    package init(_ value: Value) { self.value = value }
}

// For those at work on the loop's thread: what their closures hold stays there.
extension EventLoop {
    /// Runs `body` in the loop's next turn, not within this call.
    package func soon(_ body: @escaping () -> Void) {
        assertOnLoop()
        execute { [body = Unchecked(body)] in body.value() }
    }

    /// Begins something that waits, on this thread.
    ///
    /// - Parameter things: what belongs to the thread and is needed for it.
    @discardableResult
    package func begin<Things>(
        with things: Things, _ body: nonisolated(nonsending) @escaping @Sendable (Things) async -> Void
    ) -> Task<Void, Never> {
        assertOnLoop()
        let (home, things) = (LoopActor(loop: self), Unchecked(things))
        return Task { await home.run { _ in await body(things.value) } }
    }

    /// What any thread may call to have `body` run here.
    package func callback(_ body: @escaping () -> Void) -> @Sendable () -> Void {
        assertOnLoop()
        let body = Unchecked(body)
        return { [weak self] in self?.execute { body.value() } }
    }
}

/// Does something on a loop when its owner is gone: for actors that own things of the loop's thread.
package final class AtEnd: Sendable {
    private let loop: EventLoop
    private let action: @Sendable () -> Void

    /// - Parameter owned: what belongs to the loop's thread, and is given up with the owner.
    package init<Owned>(of owned: Owned, on loop: EventLoop, _ action: @escaping @Sendable (Owned) -> Void) {
        self.loop = loop
        let owned = Unchecked(owned)
        self.action = { action(owned.value) }
    }

    deinit { loop.execute(action) }
}
