import Foundation
import Glibc
import TestSupport
import Testing

@testable import CommandLineSupport

@Suite("The log's own thread")
struct LogWriterTests {
    /// A pipe; its reader reads when it is told to.
    private func withPipe(_ body: (_ reader: Int32, _ writer: Int32) async throws -> Void) async throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { close(ends[0]) }
        try await body(ends[0], ends[1])
    }

    private func read(_ descriptor: Int32, until isEnough: (String) -> Bool) -> String {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while !isEnough(text) {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            text += String(decoding: buffer.prefix(count), as: UTF8.self)
        }
        return text
    }

    @Test("who logs never waits; when somebody reads again all that fitted comes in order, and how many did not")
    func blocked() async throws {
        try await withPipe { reader, descriptor in
            // There is no room from the first on.
            #expect(fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
            while write(descriptor, "\n", 1) > 0 {}
            #expect(fcntl(descriptor, F_SETFL, 0) == 0)
            let writer = LogWriter(descriptor, limit: 200_000) { Array("\($0) dropped\n".utf8) }
            let lines = 50_000
            for number in 1...lines { writer.write(Array("line \(number)\n".utf8)) }
            #expect(writer.dropped > 0)
            #expect(!writer.flush(within: .milliseconds(1)))
            // The descriptor may be other processes', too.
            #expect(fcntl(descriptor, F_GETFL) & O_NONBLOCK == 0)
            let found = read(reader) { $0.contains("dropped\n") }.split(separator: "\n")
            let numbers = found.dropLast().map { Int($0.dropFirst(5)) }
            #expect(numbers == (1..<found.count).map { $0 })
            #expect(found.last == "\(lines - numbers.count) dropped" && writer.dropped == lines - numbers.count)
            writer.write(Array("after\n".utf8))
            #expect(read(reader) { $0.hasSuffix("\n") } == "after\n")
            #expect(writer.flush())
        }
    }

    @Test("a descriptor that another process has made non-blocking is waited for")
    func nonBlocking() async throws {
        try await withPipe { reader, descriptor in
            #expect(fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
            let writer = LogWriter(descriptor) { Array("\($0) dropped\n".utf8) }
            for number in 1...20_000 { writer.write(Array("line \(number)\n".utf8)) }
            let found = read(reader) { $0.hasSuffix("line 20000\n") || $0.contains("dropped") }
            let numbers = found.split(separator: "\n").compactMap { $0.hasPrefix("line ") ? Int($0.dropFirst(5)) : nil }
            #expect(numbers == Array(1...numbers.count) && numbers.count > 10_000)
        }
    }

    @Test("what cannot be written is counted, and keeps nobody busy")
    func refused() async throws {
        let full = open("/dev/full", O_WRONLY)
        defer { close(full) }
        let writer = LogWriter(full) { Array("\($0) dropped\n".utf8) }
        for number in 1...10 { writer.write(Array("line \(number)\n".utf8)) }
        #expect(writer.flush(within: .seconds(60)))
        #expect(writer.dropped == 10)
    }
}
