import EventStream
import Glibc

/// How busy the processors of this machine were lately, of `/proc/stat` (proc(5)). Where that cannot be read they are not short.
final class ProcessorLoad: ProcessorPort {
    private struct Sample {
        /// Ticks of all processors together: idle ones, and all.
        let idle: Int64
        let total: Int64
        let time: MonotonicTime
    }

    /// Short where less than one part in so many of the time was idle.
    private static let idleShare: Int64 = 10
    /// A tick is 10 ms; shorter stretches tell nothing.
    private static let interval = Duration.milliseconds(200)
    private let descriptor = open("/proc/stat", O_RDONLY | O_CLOEXEC)
    private var last: Sample?
    private var isShort = false

    deinit { close(descriptor) }

    var areShort: Bool {
        let now = MonotonicTime.now
        if let last, now - last.time < ProcessorLoad.interval { return isShort }
        guard let sample = sample(at: now) else { return false }
        if let last, sample.total > last.total {
            // Of a stretch long ago nothing follows for now.
            let isRecent = now - last.time < ProcessorLoad.interval * 5
            isShort = isRecent && (sample.idle - last.idle) * ProcessorLoad.idleShare < sample.total - last.total
        }
        last = sample
        return isShort
    }

    /// The first line: `cpu  user nice system idle iowait …`.
    private func sample(at now: MonotonicTime) -> Sample? {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return nil }
        let line = String(decoding: buffer[..<count], as: UTF8.self).prefix { $0 != "\n" }
        let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { Int64($0) }
        guard ticks.count >= 4 else { return nil }
        return Sample(idle: ticks[3], total: ticks.reduce(0, +), time: now)
    }
}
