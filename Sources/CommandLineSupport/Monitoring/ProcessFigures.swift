import FoundationEssentials
import Glibc

/// What Prometheus's own clients tell of every process, read from /proc/self (proc(5)).
struct ProcessFigures: Sendable {
    private let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
    private let page = Double(sysconf(Int32(_SC_PAGESIZE)))

    func text() -> String {
        let fields = statistics
        guard fields.count > 21 else { return "" }
        // Numbered as in proc(5), from the third on.
        func field(_ number: Int) -> Double { Double(fields[number - 3]) ?? 0 }
        let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
        return metric("process_cpu_seconds_total", "counter", "Processor time used", (field(14) + field(15)) / ticks)
            + metric("process_open_fds", "gauge", "Open file descriptors", Double(descriptors))
            + metric("process_resident_memory_bytes", "gauge", "Resident memory", field(24) * page)
            + metric("process_start_time_seconds", "gauge", "When the process started, since 1970", started + field(22) / ticks)
    }

    private func metric(_ name: String, _ kind: String, _ help: String, _ value: Double) -> String {
        "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n\(name) \(value)\n"
    }

    /// The fields of /proc/self/stat after the name, which may hold blanks.
    private var statistics: [Substring] {
        guard let text = read("/proc/self/stat"), let end = text.lastIndex(of: ")") else { return [] }
        return text[text.index(after: end)...].split(whereSeparator: { $0 == " " || $0 == "\n" })
    }

    /// When the system started.
    private var started: Double {
        let line = read("/proc/stat")?.split(separator: "\n").first { $0.hasPrefix("btime ") }
        return line.flatMap { Double($0.dropFirst(6)) } ?? 0
    }

    private func read(_ path: String) -> String? {
        (try? Data(contentsOf: URL(filePath: path))).map { String(decoding: $0, as: UTF8.self) }
    }
}
