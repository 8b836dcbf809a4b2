import Foundation

/// What is wrong with the disk and the clock of the processes that are started with this environment; may change meanwhile.
package final class Faults: Sendable {
    private let library: String
    private let file: String
    /// Where there may be no room, with everything below.
    private let directory: String

    /// - Parameter scratch: a directory for a library and a file.
    package init(in scratch: String, fillingUp directory: String = "/") async throws {
        self.directory = directory
        library = "\(scratch)/faults.so"
        file = "\(scratch)/faults-\(UInt32.random(in: 0...UInt32.max))"
        _ = FileManager.default.createFile(atPath: file, contents: Data(count: 16))
        guard !FileManager.default.fileExists(atPath: library) else { return }
        let source = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Faults/faults.c").path
        let compiled = try await ChildProcess.run(
            "/usr/bin/env", ["clang", "-std=gnu11", "-shared", "-fPIC", "-O1", "-o", library, source])
        guard compiled.status == 0 else { throw Failure(compiled.text) }
    }

    package var environment: [String: String] { ["LD_PRELOAD": library, "FAULTS_FILE": file, "FAULTS_DIRECTORY": directory] }

    /// How far the clock is ahead of what it should be.
    package func setClock(ahead seconds: Int64) throws { try write(withUnsafeBytes(of: seconds) { Data($0) }, at: 0) }
    package func setFull(_ isFull: Bool) throws { try write(Data([isFull ? 1 : 0]), at: 8) }

    private func write(_ data: Data, at offset: UInt64) throws {
        let handle = try FileHandle(forWritingTo: URL(filePath: file))
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: data)
        try handle.close()
    }
}
