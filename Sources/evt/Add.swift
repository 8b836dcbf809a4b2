import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamClient
import EventStreamServer

struct Add: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Records events through the generator, and prints their ids.",
        discussion: """
            evt add USR_LOGIN '{"user": 17}' --key 'user 17'
            printf '%s\\n' '{"type":"A","data":1}' '{"type":"B","data":2}' | evt add --stdin
            """)

    static let settings = Settings.facts(of: .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @OptionGroup var answers: AnswerOptions
    @Argument(help: "The event's type: 1 to 16 of A-Z and _.") var type: String?
    @Argument(help: "Its data, one JSON value.") var data: String = "null"
    @Option(help: "What the event is about, 1 to 128 bytes.") var key: String?
    @Option(help: "A JSON object of at most 4096 bytes that tells how the event came about.") var meta: String?
    @Option(help: "1 to 200 bytes: the same command again prints the first id, and records nothing.") var idempotencyKey: String?
    @Flag(
        help: """
            Read one event a line, as {"type":…,"data":…}, possibly with key, meta and idempotency_key; they are sent without waiting \
            for each other.
            """)
    var stdin = false

    func validate() throws {
        guard stdin != (type != nil) else { throw ValidationError("give either a TYPE or --stdin") }
        guard !stdin || key == nil && meta == nil && idempotencyKey == nil else {
            throw ValidationError("with --stdin each line has its own key, meta and idempotency_key")
        }
    }

    func run() async throws {
        let settings = try await flags.read()
        let generator = try await GeneratorClient(
            settings.generatorConnect.list, keys: settings.clientKeys(), timeout: answers.answerTimeout())
        if let type {
            print(
                try await generator.addEvent(
                    type, RawJSON(data), key: key, meta: meta.map { try RawJSON($0) }, idempotencyKey: idempotencyKey))
        } else {
            try await addLines(to: generator)
        }
        await generator.close()
    }

    /// Up to 1000 events are under way at a time; ids are printed in the order of the lines.
    private func addLines(to generator: GeneratorClient) async throws {
        var underWay: [(line: Int, id: Task<EventID, any Error>)] = []
        var number = 0
        var failed = 0
        func finishFirst() async {
            let (line, id) = underWay.removeFirst()
            do {
                print(try await id.value)
            } catch {
                failed += 1
                printError("line \(line): \(error)")
            }
        }
        while let line = readLine() {
            number += 1
            guard !line.isEmpty else { continue }
            let task: Task<EventID, any Error>
            do {
                let draft = try Event.draft(decoding: RawJSON(line))
                // Started here and now, in the order of the lines.
                task = Task.immediate {
                    try await generator.addEvent(
                        draft.type, draft.data, key: draft.key, meta: draft.meta, idempotencyKey: draft.idempotencyKey)
                }
            } catch {
                task = Task { throw error }
            }
            underWay.append((number, task))
            if underWay.count >= 1000 { await finishFirst() }
        }
        while !underWay.isEmpty { await finishFirst() }
        guard failed == 0 else { throw ExitCode.failure }
    }
}
