import Foundation

/// A directory of a test's own, with a path short enough for unix sockets.
package enum ScratchDirectory {
    package static func with<Value>(_ body: (String) async throws -> Value) async throws -> Value {
        let path = "/tmp/evt-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }
}
