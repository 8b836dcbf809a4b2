import CLibPQ
import Glibc

/// Where to connect, and how a new connection is set up.
package struct ConnectionOptions: Sendable, CustomStringConvertible {
    /// A libpq URI (`postgresql://…`) or keyword/value string (`host=… dbname=…`), several hosts and all of libpq's own
    /// environment variables and files included (libpq manual, "Connection Strings").
    package var connectionString: String
    /// Gives the connection string anew for each attempt to connect, where it may change, as a password does that is rotated;
    /// ``connectionString`` is what it was at first. An attempt for which it throws has failed.
    package var refresh: (@Sendable () throws -> String)?
    /// Shown in `pg_stat_activity.application_name`, unless the connection string has one of its own.
    package var applicationName: String
    /// Run-time parameters set on every new connection, by name. Without any, a connection has no time limits.
    package var settings: [String: String]
    /// How long an attempt to connect to one host may take, unless the connection string says (`connect_timeout`); more than
    /// zero.
    package var connectTimeout: Duration
    /// A server that owes an answer for so long, without a byte, is asked over another connection whether it is still at work
    /// on it; if not, the connection counts as lost. TCP alone does not notice a machine in between that hangs. Zero: it is
    /// waited for.
    package var answerTimeout: Duration

    package init(
        _ connectionString: String, applicationName: String = "", settings: [String: String] = [:],
        connectTimeout: Duration = .seconds(5), answerTimeout: Duration = .seconds(15)
    ) {
        self.connectionString = connectionString
        self.applicationName = applicationName
        self.settings = settings
        self.connectTimeout = connectTimeout
        self.answerTimeout = answerTimeout
    }

    /// The options with the connection string of this moment.
    func refreshed() throws(PostgresError) -> ConnectionOptions {
        guard let refresh else { return self }
        var options = self
        do {
            options.connectionString = try refresh()
        } catch {
            throw PostgresError(.connectionFailed, "\(error)")
        }
        options.refresh = nil
        return options
    }

    /// Fails with ``PostgresError/Code/invalidInput`` if libpq cannot read the connection string.
    package func validate() throws(PostgresError) { _ = try parsed() }

    /// Host, port, database and user; never the password.
    package var description: String {
        guard let values = try? parsed() else { return "(unreadable connection string)" }
        let parts = ["host", "hostaddr", "port", "dbname", "user", "service"].compactMap { key in
            values[key].map { "\(key)=\($0)" }
        }
        return parts.isEmpty ? "libpq defaults" : parts.joined(separator: " ")
    }

    /// Whether the connection string has a password in it; also where it cannot be read, and may well have one.
    package var holdsPassword: Bool {
        if let values = try? parsed() { return values["password"] != nil || values["sslpassword"] != nil }
        guard let scheme = connectionString.firstRange(of: "://") else { return connectionString.contains("password") }
        return connectionString.hasPrefix("postgres") || connectionString[scheme.upperBound...].contains("@")
    }

    private func parsed() throws(PostgresError) -> [String: String] {
        var error: UnsafeMutablePointer<CChar>?
        // libpq's own message may quote the string, and with it a password.
        guard let options = PQconninfoParse(connectionString, &error) else {
            PQfreemem(error)
            throw ConnectionOptions.unreadable
        }
        defer { PQconninfoFree(options) }
        var values: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        // What libpq takes for a host, a port or a database it tells everybody: no part of a password must get there.
        guard !hasStrayAt, values["port"]?.allSatisfy({ $0.isASCII && $0.isNumber || $0 == "," || $0.isWhitespace }) != false,
            ["host", "hostaddr", "dbname", "user", "service"].allSatisfy({ values[$0]?.contains("://") != true })
        else { throw ConnectionOptions.unreadable }
        return values
    }

    private static let unreadable = PostgresError(
        .invalidInput,
        "the connection string cannot be read; expected postgresql://user@host:port/database or host=… dbname=…; in a URI the "
            + "characters @ / : ? % of a password are written %40 %2F %3A %3F %25, and in the other form it stands in quotes")

    /// Whether a URI has an @ behind the user's name and password: it belongs to a password that was not encoded.
    private var hasStrayAt: Bool {
        guard connectionString.hasPrefix("postgresql://") || connectionString.hasPrefix("postgres://"),
            let scheme = connectionString.firstRange(of: "://")
        else { return false }
        // Where libpq sees the end of name and password.
        var rest = connectionString[scheme.upperBound...]
        if let at = rest.prefix(while: { $0 != "/" }).firstIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        return rest.prefix { $0 != "?" }.contains("@")
    }

    /// What a database or a role sets for everybody is meant for people and applications: a process that works day and night
    /// would be ended in its midst. Who means us says so in the connection string, PGOPTIONS or ``settings``.
    /// Compiling a statement takes longer than any of ours: a database whose costs are set low would have each compiled.
    private static let limits =
        ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"].map { "-c \($0)=0" } + ["-c jit=off"]

    /// The server is to notice as well: the locks of a connection that it believes in keep out the one that comes after it.
    private static let probes = [
        "-c tcp_keepalives_idle=10", "-c tcp_keepalives_interval=5", "-c tcp_keepalives_count=3", "-c tcp_user_timeout=15000",
    ]

    /// What a database or a role sets for everybody must not change what our statements mean, or how values look. And where a
    /// policy may hide rows the server is to refuse, not to show the rest: what is not seen is lost. Nobody may say otherwise.
    private static let meaning = [
        "row_security=off", "standard_conforming_strings=on", "transform_null_equals=off", "array_nulls=on",
        "quote_all_identifiers=off", "DateStyle=ISO", "IntervalStyle=postgres", "extra_float_digits=3", "bytea_output=hex",
    ].map { "-c \($0)" }

    /// Limits that older servers do not know, and would refuse the connection for, with the version that brought them.
    static let newerLimits = [("idle_session_timeout", 140_000), ("transaction_timeout", 170_000)]

    /// One of the hosts a connection string names, in its order.
    struct Host: Sendable {
        /// What stands for the lists of all hosts.
        let keywords: [(String, String)]
    }

    /// libpq goes on to the next host when one refuses, but asynchronously it waits for ever for one that is silent. So each is
    /// tried by itself.
    func hosts() throws(PostgresError) -> [Host] {
        let values = try parsed()
        let lists = ["host", "hostaddr", "port"].compactMap { key in
            values[key].map { (key, $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)) }
        }
        let count = lists.filter { $0.0 != "port" }.map(\.1.count).max() ?? 1
        // This one wants all of them compared.
        guard count > 1, values["target_session_attrs"] != "prefer-standby",
            lists.allSatisfy({ $0.1.count == count || $0.0 == "port" && $0.1.count == 1 })
        else { return [Host(keywords: [])] }
        return (0..<count).map { index in
            let keywords = lists.map { ($0.0, $0.1.count == 1 ? $0.1[0] : $0.1[index]) }
            // Of several servers one is the primary: whoever has not said which to take, means that one.
            return Host(
                keywords: keywords + (values["target_session_attrs"] == nil ? [("target_session_attrs", "read-write")] : []))
        }
    }

    /// How long one host may take.
    func hostTimeout() throws(PostgresError) -> Duration {
        // libpq's own reading: a number of seconds, at least 2; 0 and less is for ever.
        guard let given = try parsed()["connect_timeout"].flatMap({ Int($0) }), given > 0 else { return connectTimeout }
        return .seconds(max(given, 2))
    }

    /// Parallel arrays for `PQconnectStartParams`.
    func keywords(for host: Host = Host(keywords: [])) throws(PostgresError) -> [(String, String)] {
        let values = try parsed()
        // What comes first is the default: a network that is gone is noticed within half a minute, not within hours.
        var pairs = [
            ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"), ("tcp_user_timeout", "15000"),
            ("dbname", connectionString),
        ]
        // What comes later counts.
        pairs += host.keywords
        if !applicationName.isEmpty { pairs.append(("fallback_application_name", applicationName)) }
        pairs.append(("client_encoding", "UTF8"))
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
        let standard = ConnectionOptions.limits + ConnectionOptions.probes
        pairs.append(
            ("options", (standard + [theirs].compactMap { $0 } + ours + ConnectionOptions.meaning).joined(separator: " ")))
        return pairs
    }
}
