import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer

extension Consumers {
    struct Pause: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Stops the delivery to a consumer until it is resumed.",
            discussion: """
                Its receiver stays connected, and what is in flight may still be confirmed. The consumer holds events like any other. \
                Pushers notice within a fifth of EVT_SESSION_TIMEOUT. pollEvents is answered with ConsumerPaused.
                """)
        static let settings = Settings.facts(of: .database)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String

        func run() async throws {
            let ident = try Consumers.ident(consumer, target)
            try await target.change { try await $0.pause(ident, true, on: $1) }
            print("\(ident) is paused; `evt consumers resume` lets it go on")
        }
    }

    struct Resume: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Lets the delivery to a paused consumer go on.",
            discussion: "Pushers notice within a fifth of EVT_SESSION_TIMEOUT.")
        static let settings = Settings.facts(of: .database)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String

        func run() async throws {
            let ident = try Consumers.ident(consumer, target)
            try await target.change { try await $0.pause(ident, false, on: $1) }
            print("\(ident) goes on")
        }
    }
}
