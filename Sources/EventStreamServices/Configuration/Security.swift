import EventStream
public import EventStreamClient
import Glibc

/// Keys and limits, out of the settings.
extension SettingsReader {
    /// Where a server listens.
    func bound(_ setting: Setting) throws(ConfigurationError) -> Endpoints {
        var bound = try endpoints(setting, optional(setting) ?? "")
        for endpoint in bound.list where endpoint.hasPrefix("tcp://localhost:") {
            throw ConfigurationError(
                "\(setting.name): \(endpoint): ZeroMQ binds to addresses, not to names; that is tcp://127.0.0.1:… or tcp://[::1]:…"
            )
        }
        let mode = optional(Settings.ipcMode) ?? ""
        guard (1...4).contains(mode.utf8.count), let mode = UInt32(mode, radix: 8), mode <= 0o777 else {
            throw mismatch(Settings.ipcMode, mode)
        }
        bound.ipcMode = mode
        return bound
    }

    func peerLimits() throws(ConfigurationError) -> PeerLimits {
        var limits = PeerLimits()
        limits.connections = try int(Settings.maxConnections, in: 1...1_000_000)
        limits.userConnections = try int(Settings.userConnections, in: 1...1_000_000)
        limits.userSessions = try int(Settings.userSessions, in: 1...1_000_000)
        limits.userConsumers = try int(Settings.userConsumers, in: 1...1_000_000)
        limits.userRequests = try int(Settings.userRequests, in: 1...100_000_000)
        limits.userBytes = try int(Settings.userBytes, in: 65_536...16 << 30)
        return limits
    }

    /// What makes a server's sockets keyed; nil if nothing is set.
    public func serverKeys() throws(ConfigurationError) -> ServerKeys? {
        let (key, authorized) = (given(Settings.curveKey), given(Settings.authorizedKeys))
        guard let key else {
            guard authorized == nil else {
                throw ConfigurationError("EVT_AUTHORIZED_KEYS is set but EVT_CURVE_KEY is not: a server needs a key of its own")
            }
            return nil
        }
        guard let authorized else {
            throw ConfigurationError("EVT_CURVE_KEY is set but EVT_AUTHORIZED_KEYS is not: it says who may connect")
        }
        return ServerKeys(certificate: try ownCertificate(key), authorized: try AuthorizedKeysFile(path: authorized))
    }

    /// What clients prove to be, and expect of servers; nil if nothing is set.
    public func clientKeys() throws(ConfigurationError) -> ClientKeys? {
        let (key, server) = (given(Settings.curveKey), given(Settings.serverKey))
        guard let server else {
            guard key == nil else {
                throw ConfigurationError("EVT_CURVE_KEY is set but EVT_SERVER_KEY is not: a client has to know the server's")
            }
            return nil
        }
        guard let key else {
            throw ConfigurationError("EVT_SERVER_KEY is set but EVT_CURVE_KEY is not: a client needs a key of its own")
        }
        let (certificate, serverKey) = (try ownCertificate(key), try publicKey(server))
        do {
            return try ClientKeys(certificate: certificate, serverKey: serverKey)
        } catch {
            throw ConfigurationError("EVT_CURVE_KEY: \(error)")
        }
    }

    private func given(_ setting: Setting) -> String? { optional(setting).flatMap { $0.isEmpty ? nil : $0 } }

    private func ownCertificate(_ path: String) throws(ConfigurationError) -> CurveCertificate {
        guard CurveKey(path) == nil else {
            throw ConfigurationError("EVT_CURVE_KEY: this is a key, and should be the name of the file that holds it")
        }
        let certificate = try certificate(path, Settings.curveKey)
        guard certificate.secretKey != nil else {
            throw ConfigurationError("EVT_CURVE_KEY: \(path) has no secret-key; the file with it is usually named \(path)_secret")
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o007 == 0 else {
            throw ConfigurationError(
                "EVT_CURVE_KEY: \(path) is open to everyone: chmod 600 it, and make a new key if others could read it")
        }
        return certificate
    }

    private func publicKey(_ text: String) throws(ConfigurationError) -> CurveKey {
        if access(text, F_OK) != 0, let key = CurveKey(text) { return key }
        return try certificate(text, Settings.serverKey).publicKey
    }

    private func certificate(_ path: String, _ setting: Setting) throws(ConfigurationError) -> CurveCertificate {
        let bytes: [UInt8]
        do throws(ConfigurationError) {
            bytes = try readFile(path, limit: CurveCertificate.sizeLimit)
        } catch {
            throw ConfigurationError("\(setting.name): \(error)")
        }
        do {
            return try CurveCertificate(decoding: bytes)
        } catch {
            throw ConfigurationError("\(setting.name): \(path) is no certificate: \(error)")
        }
    }
}
