import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamClient
import EventStreamServer

struct WantOptions: ParsableArguments {
    @Option(help: "Only these event types, separated by commas; ORDER_* is every type that begins with ORDER_.") var want: String?
    @Flag(help: "Print the microseconds of timestamps, as \"us\".") var precise = false
    @Option(
        help: "Print these fields, too, where an event has them: us, key and meta, separated by commas.",
        transform: eventFields)
    var fields: EventFields = []

    /// What is to be printed besides id, type, data and ts.
    var allFields: EventFields { precise ? fields.union(.microseconds) : fields }

    func filter() throws -> EventFilter { try want.map { try eventFilter($0, of: "--want") } ?? .all }
}

/// - Parameter list: names, separated by commas.
private func eventFields(_ list: String) throws -> EventFields {
    var fields: EventFields = []
    for name in list.split(separator: ",", omittingEmptySubsequences: false) {
        guard let field = EventFields(name: name) else {
            throw ValidationError("--fields: \(name) is no field; those of an event are us, key and meta")
        }
        fields.insert(field)
    }
    return fields
}

struct AnswerOptions: ParsableArguments {
    @Option(help: "Wait so long for an answer: 100ms to 1h.") var timeout = "10s"

    func answerTimeout() throws -> Duration { try duration(timeout, of: "--timeout") }
}

struct Tail: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Prints events as they come, one JSON object a line.",
        discussion: """
            Without --component it is a live receiver: it sees what happens from now on, and loses events it is too slow \
            for. With --component it is a reliable one: registered, it gets every event, and confirms what it has printed; where \
            that goes into a pipe, what its reader has taken. It ends when nobody reads the pipe any more.
            """)

    static let settings = Settings.facts(of: .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @OptionGroup var wanted: WantOptions
    @Option(help: "Receive reliably, as this component.") var component: String?
    @Option(help: "Where the component begins if it is not registered yet: \(startHelp)") var from: String?
    @Option(help: "End after so many events, at least 1.") var count: Int?

    func validate() throws {
        guard from == nil || component != nil else {
            throw ValidationError("--from goes with --component: a live receiver sees what happens from now on")
        }
        guard count ?? 1 >= 1 else { throw ValidationError("--count is a number from 1") }
    }

    func run() async throws {
        let settings = try await flags.read()
        var configuration = ReceiverConfiguration(endpoints: try settings.pusherConnect.list, want: try wanted.filter())
        configuration.keys = try settings.clientKeys()
        configuration.fields = wanted.allFields
        configuration.sessionTimeout = try settings.sessionTimeout
        configuration.start = try from.map { try startPosition($0, of: "--from") }
        configuration.batchLimit = count.map { min($0, 1000) } ?? 1000
        var left = count ?? .max
        if let component {
            var unconfirmed: EventID?
            let receiver = try ReliableReceiver(component, configuration)
            let errors = Task { await Self.report(receiver.signals, stop: receiver.stop) }
            OutputReader.whenGone { Task { await receiver.stop() } }
            for await batch in receiver.batches {
                do {
                    try printLines(Array(batch.events.prefix(left)))
                    try await OutputReader.hasTakenAll()
                } catch {
                    // Perhaps nobody has seen it: it must come again. That is no trouble to be told.
                    errors.cancel()
                    await batch.reject(because: "standard output is gone")
                    await receiver.stop()
                    if error is ReaderGone { return }
                    throw error
                }
                if batch.events.count <= left {
                    await batch.confirm()
                } else {
                    // Of the rest nothing was printed: it must come again. That is no trouble to be told.
                    errors.cancel()
                    unconfirmed = batch.events[left - 1].id
                    await batch.reject(because: "no more events were asked for")
                }
                left -= batch.events.count
                if left <= 0 { break }
            }
            await receiver.stop()
            if let unconfirmed {
                let poller = try await PollClient(settings.pusherConnect.list, keys: settings.clientKeys())
                _ = try await poller.pollEvents(component, after: unconfirmed)
                await poller.close()
            }
            if let error = await errors.value { throw error }
        } else {
            let receiver = try LiveReceiver(configuration)
            let errors = Task { await Self.report(receiver.signals, stop: receiver.stop) }
            OutputReader.endWhenGone()
            for await events in receiver.events {
                try OutputReader.show(Array(events.prefix(left)))
                left -= events.count
                if left <= 0 { break }
            }
            await receiver.stop()
            if let error = await errors.value { throw error }
        }
    }

    /// Says what goes wrong, until the receiver stops; stops it because of what trying again does not cure.
    private static func report(_ signals: AsyncStream<ReceiverSignal>, stop: @Sendable () async -> Void) async
        -> EventStreamError?
    {
        var last = ""
        for await signal in signals where !Task.isCancelled {
            switch signal {
            case .ready: last = ""
            case .workerError(let error), .receiverError(let error):
                guard error.code != .unauthorized, error.code != .invalidRequest else {
                    await stop()
                    return error
                }
                guard error.description != last else { continue }
                last = error.description
                printError("evt tail: \(error); trying again")
            case .newGeneration:
                printError("evt tail: the database went back, or may have: events that were printed may be lost there")
            case .newEvents, .processedEvents: break
            }
        }
        return nil
    }
}

struct Poll: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Asks for the events that follow, and prints them, one JSON object a line.")

    static let settings = Settings.facts(of: .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @OptionGroup var answers: AnswerOptions
    @OptionGroup var wanted: WantOptions
    @Argument(help: "A registered component, or LIVE.") var component: String
    @Option(help: "Confirm this event and all before it; for LIVE, start after it.") var lastID: String?
    @Flag(help: "Register the component first.") var register = false

    func run() async throws {
        let settings = try await flags.read()
        let last = try lastID.map { text in
            guard let id = EventID(text) else { throw ValidationError("--last-id: \(text) is no event id") }
            return id
        }
        let types = try wanted.filter().entries
        let client = try await PollClient(
            settings.pusherConnect.list, keys: settings.clientKeys(), timeout: answers.answerTimeout())
        OutputReader.endWhenGone()
        if register { try await client.registerConsumer(component) }
        try OutputReader.show(try await client.pollEvents(component, after: last, want: types, fields: wanted.allFields))
        await client.close()
    }
}
