/// The first answer that comes, or another one when it is too late.
package struct Answer<Value: Sendable>: Sendable {
    private let timeout: Duration
    private let otherwise: Value
    private let ask: @Sendable (@escaping @Sendable (Value) -> Void) -> Void

    package init(
        _ timeout: Duration, otherwise: Value, ask: @escaping @Sendable (@escaping @Sendable (Value) -> Void) -> Void
    ) {
        self.timeout = timeout
        self.otherwise = otherwise
        self.ask = ask
    }

    package var value: Value {
        get async {
            let (answers, continuation) = AsyncStream.makeStream(of: Value.self, bufferingPolicy: .bufferingOldest(1))
            let (timeout, otherwise) = (timeout, otherwise)
            let alarm = Task {
                try await Task.sleep(for: timeout)
                continuation.yield(otherwise)
            }
            defer { alarm.cancel() }
            ask { continuation.yield($0) }
            for await answer in answers { return answer }
            return otherwise
        }
    }
}
