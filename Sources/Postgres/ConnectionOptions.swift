import CLibPQ
import Glibc

/// Where to connect, and how a new connection is set up.
public struct ConnectionOptions: Sendable, CustomStringConvertible {
    /// A libpq URI (`postgresql://…`) or keyword/value string (`host=… dbname=…`), several hosts and all of libpq's own
    /// environment variables and files included (libpq manual, "Connection Strings").
    public var connectionString: String
    /// Shown in `pg_stat_activity.application_name`, unless the connection string has one of its own.
    public var applicationName: String
    /// Run-time parameters set on every new connection, by name.
    public var settings: [String: String]
    /// How long an attempt to connect may take; more than zero.
    public var connectTimeout: Duration

    public init(
        _ connectionString: String, applicationName: String = "", settings: [String: String] = [:],
        connectTimeout: Duration = .seconds(10)
    ) {
        self.connectionString = connectionString
        self.applicationName = applicationName
        self.settings = settings
        self.connectTimeout = connectTimeout
    }

    /// Fails with ``PostgresError/Code/invalidInput`` if libpq cannot read the connection string.
    public func validate() throws(PostgresError) { _ = try parsed() }

    /// Host, port, database and user; never the password.
    public var description: String {
        guard let values = try? parsed() else { return "(unreadable connection string)" }
        let parts = ["host", "hostaddr", "port", "dbname", "user", "service"].compactMap { key in
            values[key].map { "\(key)=\($0)" }
        }
        return parts.isEmpty ? "libpq defaults" : parts.joined(separator: " ")
    }

    private func parsed() throws(PostgresError) -> [String: String] {
        var error: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(connectionString, &error) else {
            // libpq's own message may quote the string, and with it a password.
            PQfreemem(error)
            throw PostgresError(
                .invalidInput,
                "the connection string cannot be read; expected postgresql://user@host:port/database or host=… dbname=…")
        }
        defer { PQconninfoFree(options) }
        var values: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        return values
    }

    /// Parallel arrays for `PQconnectStartParams`.
    func keywords() throws(PostgresError) -> [(String, String)] {
        let values = try parsed()
        // What comes first is the default: a network that is gone is noticed within half a minute, not within hours.
        var pairs = [
            ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"), ("tcp_user_timeout", "15000"),
            ("dbname", connectionString),
        ]
        if !applicationName.isEmpty { pairs.append(("fallback_application_name", applicationName)) }
        pairs.append(("client_encoding", "UTF8"))
        if !settings.isEmpty {
            // libpq splits at white space; a backslash keeps it (manual, "options").
            func escaped(_ value: String) -> String {
                var result = String.UnicodeScalarView()
                for scalar in value.unicodeScalars {
                    if scalar == "\\" || (scalar.isASCII && scalar.properties.isWhitespace) { result.append("\\") }
                    result.append(scalar)
                }
                return String(result)
            }
            // What is given replaces the environment's PGOPTIONS, so that goes in as well.
            let theirs = values["options"] ?? getenv("PGOPTIONS").map { String(cString: $0) }
            let ours = settings.sorted { $0.key < $1.key }.map { "-c \($0.key)=\(escaped($0.value))" }
            pairs.append(("options", ([theirs].compactMap { $0 } + ours).joined(separator: " ")))
        }
        return pairs
    }
}
