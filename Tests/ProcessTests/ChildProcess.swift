import CommandLineSupport
import Foundation
import TestSupport

/// A built binary, run as users run it.
final class ChildProcess: Sendable {
    struct Output: Sendable {
        let status: Int32
        let text: String
    }

    private let process: Process
    private let outputPath: String

    static var binaries: String {
        ProcessInfo.processInfo.environment["EVT_TEST_BIN"] ?? Bundle.main.bundleURL.deletingLastPathComponent().path
    }
    static var python: String { ProcessInfo.processInfo.environment["EVT_TEST_PYTHON"] ?? "python3" }

    /// Starts a program; a name without a slash is one of the built binaries.
    init(_ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String? = nil) throws {
        process = Process()
        outputPath = "/tmp/evt-output-\(UInt64.random(in: 0...UInt64.max))"
        process.executableURL = URL(filePath: program.contains("/") ? program : "\(Self.binaries)/\(program)")
        process.arguments = arguments
        var merged = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("EVT_") }
        merged.merge(environment) { $1 }
        process.environment = merged
        _ = FileManager.default.createFile(atPath: outputPath, contents: nil)
        let output = FileHandle(forWritingAtPath: outputPath)!
        process.standardOutput = output
        process.standardError = output
        // The child has it. Left open it stays so, and with some 1300 descriptors Process.run() reads past its buffer.
        defer { try? output.close() }
        if let input {
            let pipe = Pipe()
            process.standardInput = pipe
            try withSignalsUnblocked { try process.run() }
            try pipe.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            try pipe.fileHandleForWriting.close()
        } else {
            process.standardInput = FileHandle.nullDevice
            try withSignalsUnblocked { try process.run() }
        }
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(atPath: outputPath)
    }

    var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }
    var isRunning: Bool { process.isRunning }
    var id: Int32 { process.processIdentifier }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Waits for the end.
    func ended(within deadline: Duration = .seconds(240)) async throws -> Output {
        try await eventually("the end of \(process.executableURL!.lastPathComponent)", within: deadline) {
            !self.process.isRunning
        }
        return Output(status: process.terminationStatus, text: output)
    }

    /// Asks for a clean stop, and waits for it.
    func terminate() async throws -> Output {
        signal(SIGTERM)
        return try await ended()
    }

    /// Runs a program to its end.
    static func run(
        _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String? = nil
    ) async throws -> Output {
        try await ChildProcess(program, arguments, environment: environment, input: input).ended()
    }
}
