import CZeroMQ

/// A failed libzmq call.
package struct ZeroMQError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The call's error number, as zmq_errno(3) gives it.
    package let number: Int32
    /// What was being done, to what.
    package let context: String

    package init(number: Int32, context: String) {
        self.number = number
        self.context = context
    }

    /// Reads `zmq_errno()`, which holds until the thread's next call.
    init(_ context: String) { self.init(number: zmq_errno(), context: context) }

    package var description: String { "\(context): \(String(cString: zmq_strerror(number)))" }
}
