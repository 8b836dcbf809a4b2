import Foundation

/// Certificates for tests, made with the openssl program.
package struct Certificates {
    package struct Pair: Sendable {
        package let certificate: String
        package let key: String
    }

    package let directory: String

    package init(directory: String) { self.directory = directory }

    /// A certificate authority of its own.
    package func authority(_ name: String) async throws -> Pair {
        let pair = pair(name)
        try await openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=\(name)", "-keyout", pair.key, "-out", pair.certificate)
        return pair
    }

    /// A server's, signed by an authority.
    package func server(at host: String, by authority: Pair) async throws -> Pair {
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
        guard end.status == 0 else { throw Failure("openssl \(arguments): \(end.text)") }
    }
}
