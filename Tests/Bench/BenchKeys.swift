import EventStream
import EventStreamClient
import Foundation
import LibZMQ
import TestSupport

/// Keys of a server and of one user, in files of a directory of their own.
struct BenchKeys: Sendable {
    let settings: [String: String]
    let client: ClientKeys

    /// The files are there while `body` runs.
    static func with<Value>(_ body: (BenchKeys) async throws -> Value) async throws -> Value {
        try await ScratchDirectory.with { directory in
            let (server, user) = (try certificate(), try certificate())
            let (key, authorized) = ("\(directory)/server.key_secret", "\(directory)/authorized_keys")
            try Data(server.encoded(withSecret: true, comment: "Of a benchmark").utf8).write(to: URL(filePath: key))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: key)
            // The user has the name that consumers have without keys, so that both are registered in the same way.
            try Data("local \(user.publicKey.z85) push\n".utf8).write(to: URL(filePath: authorized))
            return try await body(
                BenchKeys(
                    settings: ["EVT_CURVE_KEY": key, "EVT_AUTHORIZED_KEYS": authorized],
                    client: try ClientKeys(certificate: user, serverKey: server.publicKey)))
        }
    }

    private static func certificate() throws -> CurveCertificate {
        let pair = try Curve.newKeyPair()
        guard let publicKey = CurveKey(bytes: pair.publicKey), let secretKey = CurveKey(bytes: pair.secretKey) else {
            throw Failure("libzmq made no keys")
        }
        return CurveCertificate(publicKey: publicKey, secretKey: secretKey)
    }
}
