package import Logging

/// The keys of log entries; metrics and documentation use the same words.
package enum LogKey: String, Hashable, Sendable {
    case address, attempts, bytes, consumer, database, discarded, endpoint, endpoints, error, event, events, file, generation,
        holder
    case holders, keys, least, limit, lost, name, partitions, period, position, reason, required, role, seconds, segment, settled
    case since, suppressed, table, type, user
    case first = "first_id"
    case last = "last_id"
    case maxLag = "max_lag"
}

extension Logger {
    package typealias Fields = [LogKey: MetadataValue]

    package func log(level: Level, _ message: @autoclosure () -> Message, metadata fields: @autoclosure () -> Fields) {
        log(level: level, message(), metadata: Metadata(uniqueKeysWithValues: fields().map { ($0.rawValue, $1) }))
    }
    package func debug(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .debug, message(), metadata: metadata())
    }
    package func info(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .info, message(), metadata: metadata())
    }
    package func notice(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .notice, message(), metadata: metadata())
    }
    package func warning(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .warning, message(), metadata: metadata())
    }
    package func error(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .error, message(), metadata: metadata())
    }
    package func critical(_ message: @autoclosure () -> Message, metadata: @autoclosure () -> Fields) {
        log(level: .critical, message(), metadata: metadata())
    }
}
