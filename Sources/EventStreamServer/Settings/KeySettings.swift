package import EventStream
import Glibc

/// Keys, out of the settings.
extension SettingsReader {
    /// What makes a server's sockets keyed; nil if nothing is set.
    package func serverKeys() throws(ConfigurationError) -> ServerKeys? {
        let (key, authorized) = (try self.curveKey, try self.authorizedKeys)
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
    package func clientKeys() throws(ConfigurationError) -> ClientKeys? {
        let (key, server) = (try self.curveKey, try self.serverKey)
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

    private func ownCertificate(_ path: String) throws(ConfigurationError) -> CurveCertificate {
        guard CurveKey(path) == nil else {
            throw ConfigurationError("EVT_CURVE_KEY: this is a key, and should be the name of the file that holds it")
        }
        let certificate = try certificate(path, Settings.all.curveKey)
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
        return try certificate(text, Settings.all.serverKey).publicKey
    }

    private func certificate(_ path: String, _ setting: Setting<String?>) throws(ConfigurationError) -> CurveCertificate {
        let bytes: [UInt8]
        do throws(ConfigurationError) {
            bytes = try readFile(path, limit: CurveCertificate.sizeLimit)
        } catch {
            throw ConfigurationError("\(setting.facts.name): \(error)")
        }
        do {
            return try CurveCertificate(decoding: bytes)
        } catch {
            throw ConfigurationError("\(setting.facts.name): \(path) is no certificate: \(error)")
        }
    }
}
