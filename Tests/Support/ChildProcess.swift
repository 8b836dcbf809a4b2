import CommandLineSupport
import Foundation

/// A built binary, run as users run it.
package final class ChildProcess: Sendable {
    package struct Output: Sendable {
        package let status: Int32
        package let text: String
    }

    private let process: Process
    private let outputPath: String

    package static var binaries: String {
        ProcessInfo.processInfo.environment["EVT_TEST_BIN"] ?? Bundle.main.executableURL!.deletingLastPathComponent().path
    }
    package static var python: String { ProcessInfo.processInfo.environment["EVT_TEST_PYTHON"] ?? "python3" }

    /// Starts a program; a name without a slash is one of the built binaries.
    package init(_ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String? = nil) throws
    {
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

    package var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }
    package var isRunning: Bool { process.isRunning }
    package var id: Int32 { process.processIdentifier }

    package func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Waits for the end.
    package func ended(within deadline: Duration = .seconds(240)) async throws -> Output {
        try await eventually("the end of \(process.executableURL!.lastPathComponent)", within: deadline) {
            !self.process.isRunning
        }
        return Output(status: process.terminationStatus, text: output)
    }

    /// Asks for a clean stop, and waits for it.
    package func terminate() async throws -> Output {
        signal(SIGTERM)
        return try await ended()
    }

    /// Runs a program while `body` runs, and stops it cleanly.
    package static func with<Value>(
        _ program: String, environment: [String: String], _ body: (ChildProcess) async throws -> Value
    ) async throws -> Value {
        let process = try ChildProcess(program, environment: environment)
        let outcome: Result<Value, any Error>
        do {
            outcome = .success(try await body(process))
        } catch {
            outcome = .failure(error)
        }
        _ = try await process.terminate()
        return try outcome.get()
    }

    /// Fails if the process has ended by itself: what is waited for would never come.
    package func checkRunning() throws {
        guard process.isRunning else {
            throw Failure("\(process.executableURL!.lastPathComponent) ended with status \(process.terminationStatus): \(output)")
        }
    }

    /// Runs a program to its end.
    package static func run(
        _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String? = nil
    ) async throws -> Output {
        try await ChildProcess(program, arguments, environment: environment, input: input).ended()
    }
}
