/// A point in time on a clock that never jumps; always given from outside, so that tests can turn it.
package typealias MonotonicTime = ContinuousClock.Instant
