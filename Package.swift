// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)])
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let nio = ["NIOCore", "NIOPosix", "NIOHTTP1"].map { Target.Dependency.product(name: $0, package: "swift-nio") }
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let roles = ["Generator", "Pusher", "Archiver", "Discarder", "Relay"].map {
    (command: "evt-\($0.lowercased())", target: Target.Dependency.byName(name: "EventStream\($0)"))
}
// What a role stands on, and all there is, for what uses several roles.
let layers: [Target.Dependency] = ["EventStream", "EventStreamDatabase", "LibPQ", "LibZMQ", "PosixLoop", logging]
let role = layers + ["EventStreamServer", lifecycle]
let everything = role + ["CommandLineSupport", "EventStreamClient", "EventStreamServices"] + roles.map(\.target)

let package = Package(
    name: "eventstream",
    products: roles.map { .executable(name: $0.command, targets: [$0.command]) } + [
        .executable(name: "evt", targets: ["evt"]),
        .library(name: "EventStream", targets: ["EventStream"]),
        .library(name: "EventStreamClient", targets: ["EventStreamClient"]),
        .library(name: "EventStreamServices", targets: ["EventStreamServices"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // C libraries of the system.
        .systemLibrary(name: "CLibPQ", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
        // What the Glibc module leaves out.
        .systemLibrary(name: "CGlibc"),

        // General layers, without a word of the domain.
        .target(
            name: "PosixLoop", dependencies: ["CGlibc", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict),
        .target(
            name: "Prometheus", dependencies: [.product(name: "CoreMetrics", package: "swift-metrics")], swiftSettings: strict),
        .target(name: "LibPQ", dependencies: ["CLibPQ", "PosixLoop", deque], swiftSettings: strict),
        .target(name: "LibZMQ", dependencies: ["CGlibc", "CZeroMQ", "PosixLoop"], swiftSettings: strict),

        // The event stream.
        .target(
            name: "EventStream", dependencies: [deque, .product(name: "Crypto", package: "swift-crypto")], swiftSettings: strict),
        .target(
            name: "EventStreamDatabase", dependencies: ["EventStream", "LibPQ"],
            exclude: ["SQL/schema.active.sql", "SQL/schema.warehouse.sql"],
            resources: ["active", "warehouse", "functions", "inbox"].map { .embedInCode("SQL/\($0)") }, swiftSettings: strict),
        .target(
            name: "EventStreamClient", dependencies: ["EventStream", "LibZMQ", "PosixLoop"], swiftSettings: strict),
        // What the processes share: sockets and who may use them, limits, settings, health, how a role is run.
        .target(
            name: "EventStreamServer",
            dependencies: layers + [
                deque, lifecycle, metrics, .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        // A role each: what decides, what does it, and its statements.
        .target(name: "EventStreamGenerator", dependencies: role + [deque], swiftSettings: strict),
        .target(name: "EventStreamPusher", dependencies: role + [deque, metrics], swiftSettings: strict),
        .target(name: "EventStreamArchiver", dependencies: role + ["EventStreamClient"], swiftSettings: strict),
        .target(name: "EventStreamDiscarder", dependencies: role, swiftSettings: strict),
        .target(
            name: "EventStreamRelay",
            dependencies: role + [
                "EventStreamClient", .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
            ] + nio, swiftSettings: strict),
        // For applications that embed roles.
        .target(
            name: "EventStreamServices", dependencies: ["EventStreamServer", logging, lifecycle] + roles.map { $0.target },
            swiftSettings: strict),

        // Commands.
        .target(
            name: "CommandLineSupport",
            dependencies: [
                "CGlibc", "EventStream", "EventStreamServer", "LibPQ", "PosixLoop", "Prometheus", argumentParser, deque, logging,
                lifecycle, metrics, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ] + nio, swiftSettings: strict),
        .executableTarget(
            name: "evt",
            dependencies: everything + [argumentParser, .product(name: "SystemPackage", package: "swift-system")],
            resources: [.embedInCode("Docs/alerts.yml")], swiftSettings: strict),
    ]
        + roles.map {
            .executableTarget(
                name: $0.command, dependencies: ["CommandLineSupport", "EventStreamServer", $0.target, argumentParser, logging],
                swiftSettings: strict)
        }
        + [
            // What loads and measures a pipeline.
            .executableTarget(
                name: "evt-bench", dependencies: everything + ["TestSupport", argumentParser], path: "Tests/Bench",
                swiftSettings: strict),
            .executableTarget(
                name: "evt-load",
                dependencies: everything + [
                    "TestSupport", argumentParser, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                ], path: "Tests/Load", swiftSettings: strict),
            // Tests: without I/O, against PostgreSQL and sockets, and of the built binaries.
            .target(
                name: "TestSupport", dependencies: layers + ["CommandLineSupport"], path: "Tests/Support", exclude: ["Faults"],
                swiftSettings: strict),
            .testTarget(
                name: "EventStreamTests",
                dependencies: everything + [
                    "Prometheus", "TestSupport", deque, .product(name: "CoreMetrics", package: "swift-metrics"),
                ], swiftSettings: strict),
            .testTarget(name: "LibPQTests", dependencies: ["LibPQ", "PosixLoop", "TestSupport"], swiftSettings: strict),
            .testTarget(name: "LibZMQTests", dependencies: ["LibZMQ", "PosixLoop", "TestSupport"], swiftSettings: strict),
            .testTarget(
                name: "IntegrationTests",
                dependencies: everything + [
                    "TestSupport", .product(name: "CoreMetrics", package: "swift-metrics"),
                    .product(name: "MetricsTestKit", package: "swift-metrics"),
                ], swiftSettings: strict),
            .testTarget(
                name: "ProcessTests",
                dependencies: everything + ["TestSupport"]
                    + (roles.map(\.command) + ["evt", "evt-load"]).map { .byName(name: $0) },
                swiftSettings: strict),
        ]
)
