import Foundation
import Testing

/// Certificates for tests, made with the openssl program.
struct Certificates {
    struct Pair {
        let certificate: String
        let key: String
    }

    let directory: String

    /// A certificate authority of its own.
    func authority(_ name: String) async throws -> Pair {
        let pair = pair(name)
        try await openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=\(name)", "-keyout", pair.key, "-out", pair.certificate)
        return pair
    }

    /// A server's, signed by an authority.
    func server(at host: String, by authority: Pair) async throws -> Pair {
        let pair = pair("server-\(host)")
        let (request, names) = ("\(directory)/\(host).csr", "\(directory)/\(host).ext")
        try Data("subjectAltName=DNS:\(host)\n".utf8).write(to: URL(filePath: names))
        try await openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=\(host)", "-keyout",
            pair.key, "-out", request)
        try await openssl(
            "x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial", "-days",
            "2",
            "-extfile", names, "-out", pair.certificate)
        return pair
    }

    private func pair(_ name: String) -> Pair { Pair(certificate: "\(directory)/\(name).crt", key: "\(directory)/\(name).key") }

    private func openssl(_ arguments: String...) async throws {
        let end = try await ChildProcess.run("/usr/bin/env", ["openssl"] + arguments)
        try #require(end.status == 0, "openssl \(arguments): \(end.text)")
    }
}
