import Testing

@testable import CommandLineSupport

@Suite("Lines of the log that wait to be written")
struct LogQueueTests {
    private func queue(lines: Int) -> LogQueue {
        // Each takes ten bytes and what belongs to it.
        LogQueue(limit: lines * 74) { count in Array("\(count) dropped".utf8) }
    }

    private func line(_ number: Int) -> [UInt8] {
        let digits = String(number)
        return Array((String(repeating: "0", count: 10 - digits.count) + digits).utf8)
    }

    private func take(_ queue: inout LogQueue, atMost count: Int = .max) -> [String] {
        var taken: [String] = []
        while taken.count < count, let entry = queue.next() { taken.append(String(decoding: entry.bytes, as: UTF8.self)) }
        return taken.map { $0.hasSuffix("dropped") ? $0 : "\(Int($0)!)" }
    }

    @Test("what was logged comes out in order")
    func order() {
        var queue = queue(lines: 100)
        for number in 1...50 { queue.append(line(number)) }
        #expect(take(&queue) == (1...50).map { "\($0)" })
        #expect(queue.isEmpty && queue.dropped == 0)
    }

    @Test("without room the newest are dropped, and told of when all that waited has been written")
    func full() {
        var queue = queue(lines: 10)
        for number in 1...1000 { queue.append(line(number)) }
        #expect(queue.dropped == 990)
        #expect(take(&queue) == (1...10).map { "\($0)" } + ["990 dropped"])
        #expect(queue.isEmpty && queue.next() == nil)
        queue.append(line(1001))
        #expect(take(&queue) == ["1001"])
    }

    @Test("what was dropped is told of before what is logged after it, and not for every line that goes out")
    func place() {
        var queue = queue(lines: 10)
        for number in 1...12 { queue.append(line(number)) }
        #expect(take(&queue, atMost: 2) == ["1", "2"])
        // There is room for one, but not for going on.
        queue.append(line(13))
        #expect(take(&queue, atMost: 4) == ["3", "4", "5", "6"])
        queue.append(line(14))
        queue.append(line(15))
        #expect(take(&queue) == ["7", "8", "9", "10", "3 dropped", "14", "15"])
    }

    @Test("lines that cannot be written are counted, and told of when something new is logged")
    func failing() {
        var queue = queue(lines: 10)
        for number in 1...3 { queue.append(line(number)) }
        for _ in 1...3 { queue.failed(queue.next()!) }
        // Nothing is tried again and again.
        #expect(queue.isEmpty && queue.next() == nil && queue.dropped == 3)
        queue.append(line(4))
        let notice = queue.next()!
        #expect(String(decoding: notice.bytes, as: UTF8.self) == "3 dropped")
        queue.failed(notice)
        queue.failed(queue.next()!)
        #expect(queue.dropped == 4)
        queue.append(line(5))
        #expect(take(&queue) == ["4 dropped", "5"])
    }

    @Test("a line that can never find room is counted like others")
    func long() {
        var queue = queue(lines: 2)
        let isTaken = queue.append([UInt8](repeating: 0x78, count: 1000))
        #expect(!isTaken)
        #expect(take(&queue) == ["1 dropped"])
    }
}
