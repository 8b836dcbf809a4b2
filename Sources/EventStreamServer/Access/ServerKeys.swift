public import EventStream
public import Logging
import Synchronization
import SystemPackage

/// What makes a server's sockets keyed: its own certificate, and who may connect.
public struct ServerKeys: Sendable {
    /// With its secret key.
    public let certificate: CurveCertificate
    public let authorized: AuthorizedKeysFile

    public init(certificate: CurveCertificate, authorized: AuthorizedKeysFile) {
        self.certificate = certificate
        self.authorized = authorized
    }
}

/// The authorized-keys file and what was read from it last.
public final class AuthorizedKeysFile: Sendable {
    public let path: String
    private let state: Mutex<(keys: AuthorizedKeys, observers: [Int: @Sendable () -> Void], lastObserver: Int)>

    /// - Throws: ``ConfigurationError`` naming the file and each line at fault.
    public init(path: String) throws(ConfigurationError) {
        self.path = path
        state = Mutex((try AuthorizedKeysFile.read(path), [:], 0))
    }

    package var keys: AuthorizedKeys { state.withLock { $0.keys } }

    /// Reads the file again; if something is wrong with it, all of it stays as it was.
    public func reload(logger: Logger) {
        do {
            let keys = try AuthorizedKeysFile.read(path)
            let observers = state.withLock { state in
                state.keys = keys
                return Array(state.observers.values)
            }
            for observer in observers { observer() }
            logger.info("authorized keys were read", metadata: [.file: "\(path)", .keys: "\(keys.users.count)"])
        } catch {
            logger.error("authorized keys stay as they were", metadata: [.error: "\(error)"])
        }
    }

    /// Calls the observer, on whatever thread, after the keys have changed.
    package func observe(_ observer: @escaping @Sendable () -> Void) -> Int {
        state.withLock { state in
            state.lastObserver += 1
            state.observers[state.lastObserver] = observer
            return state.lastObserver
        }
    }

    package func stopObserving(_ number: Int) { _ = state.withLock { $0.observers.removeValue(forKey: number) } }

    private static func read(_ path: String) throws(ConfigurationError) -> AuthorizedKeys {
        let bytes = try readFile(path, limit: AuthorizedKeys.sizeLimit)
        do {
            return try AuthorizedKeys(decoding: bytes)
        } catch {
            throw ConfigurationError("the authorized keys in \(path) cannot be used: \(error)")
        }
    }
}

/// Reads a file that should be small.
///
/// - Throws: ``ConfigurationError`` naming it; its contents are not quoted.
func readFile(_ path: String, limit: Int) throws(ConfigurationError) -> [UInt8] {
    do {
        let file = try FileDescriptor.open(FilePath(path), .readOnly)
        return try file.closeAfter {
            var bytes: [UInt8] = []
            while bytes.count <= limit {
                let part = try [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
                    count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
                }
                guard !part.isEmpty else { break }
                bytes += part
            }
            return bytes
        }
    } catch {
        throw ConfigurationError("\(path) cannot be read: \(error)")
    }
}
