/// Carries a value of a loop's thread through a `@Sendable` closure that runs on the same thread.
/// `@unchecked Sendable`: it is only ever opened on the loop it was made for.
package struct Unchecked<Value>: @unchecked Sendable {
    package let value: Value
    package init(_ value: Value) { self.value = value }
}

/// Does something on a loop when its owner is gone: for actors that own things of the loop's thread.
package final class AtEnd: Sendable {
    private let loop: EventLoop
    private let action: @Sendable () -> Void

    package init(on loop: EventLoop, _ action: @escaping @Sendable () -> Void) {
        self.loop = loop
        self.action = action
    }

    deinit { loop.execute(action) }
}
