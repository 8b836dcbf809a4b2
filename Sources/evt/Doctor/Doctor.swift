import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamServer
import LibPQ

/// A check is a property of ``ServerChecks``, ``StreamChecks``, ``LockChecks`` or ``ProcessChecks``, named in its `findings`; what the
/// check needs is looked up by the `…Facts` beside it.
struct Doctor: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Looks for what is wrong, or will be, and says what to do about it.",
        discussion: """
            Looks at the databases, at the stream, and at the processes whose metrics it finds (EVT_METRICS_CONNECT). It changes \
            nothing, and takes a few seconds. The exit status is 0 if all is well, 1 after warnings, 2 if something is critical.
            """)

    static let settings = Settings.facts(of: .database, .archive, .archiver, .discarder, .doctor)
    @OptionGroup var flags: SettingFlags<Self>
    @Flag(help: "Print JSON, for scripts.") var json = false

    func run() async throws {
        let settings = try await flags.read()
        let examination = try Examination(settings)
        async let processes = ProcessChecks.found(try settings.metricsConnect)
        async let warehouse = Doctor.within("warehouse") { await examination.warehouse() }
        var findings = await Doctor.within("database") { await examination.active() }
        findings += await warehouse
        let stream = await examination.served
        findings += try await processes.map { $0.judged(by: stream) }
        if json {
            print(jsonList(findings.map(\.json)))
        } else {
            for finding in findings { print(finding.page(.standard)) }
        }
        switch findings.map(\.severity).max() {
        case .critical: throw ExitCode(2)
        case .warning: throw ExitCode(1)
        default: break
        }
    }
}

extension Doctor {
    /// A look takes so long at most, whatever hangs.
    private static let timeout = Duration.seconds(9)

    private static func within(_ subject: String, _ look: @escaping @Sendable () async -> [Finding]) async -> [Finding] {
        let late = Finding(
            .critical, subject, "it has not answered within \(timeout.components.seconds) s",
            advice:
                "is the server frozen, overloaded, or behind a firewall that says nothing? Or has somebody locked the stream's "
                + "tables (pg_locks)?")
        return await Answer(timeout, otherwise: [late]) { answer in Task { answer(await look()) } }.value
    }
}
