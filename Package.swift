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
let roles = ["evt-generator", "evt-pusher", "evt-archiver", "evt-discarder"]

let package = Package(
    name: "eventstream",
    products: roles.map { .executable(name: $0, targets: [$0]) } + [
        .executable(name: "evt", targets: ["evt"]),
        .library(name: "EventStream", targets: ["EventStream"]),
        .library(name: "EventStreamClient", targets: ["EventStreamClient"]),
        .library(name: "EventStreamServices", targets: ["EventStreamServices"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
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
        .target(name: "EventStream", dependencies: [deque], swiftSettings: strict),
        .target(
            name: "EventStreamDatabase", dependencies: ["EventStream", "LibPQ"],
            exclude: ["SQL/schema.active.sql", "SQL/schema.warehouse.sql"],
            resources: ["active", "warehouse", "functions"].map { .embedInCode("SQL/\($0)") }, swiftSettings: strict),
        .target(
            name: "EventStreamClient", dependencies: ["PosixLoop", "EventStream", "LibZMQ"], swiftSettings: strict),
        .target(
            name: "EventStreamServices",
            dependencies: [
                "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient", "LibPQ", "LibZMQ", deque, logging,
                lifecycle,
                metrics, .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),

        // Commands.
        .target(
            name: "CommandLineSupport",
            dependencies: [
                "CGlibc", "PosixLoop", "EventStream", "EventStreamServices", "LibPQ", "Prometheus", argumentParser, deque,
                logging, lifecycle, metrics, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ] + nio, swiftSettings: strict),
        .executableTarget(
            name: "evt",
            dependencies: [
                "CommandLineSupport", "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient",
                "EventStreamServices",
                "LibPQ", "LibZMQ", argumentParser, logging, lifecycle,
                .product(name: "SystemPackage", package: "swift-system"),
            ], resources: [.embedInCode("Docs/alerts.yml")], swiftSettings: strict),
    ]
        + roles.map {
            .executableTarget(
                name: $0, dependencies: ["CommandLineSupport", "EventStreamServices", argumentParser], swiftSettings: strict)
        }
        + [
            // What loads and measures a pipeline.
            .executableTarget(
                name: "evt-bench",
                dependencies: [
                    "CommandLineSupport", "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient", "LibPQ",
                    "LibZMQ",
                    argumentParser,
                ], path: "Tests/Bench", swiftSettings: strict),
            .executableTarget(
                name: "evt-load",
                dependencies: [
                    "CommandLineSupport", "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient",
                    "EventStreamServices",
                    "LibPQ", "LibZMQ", argumentParser, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                ], path: "Tests/Load", swiftSettings: strict),
            // Tests: without I/O, against PostgreSQL and sockets, and of the built binaries.
            .target(
                name: "TestSupport", dependencies: ["PosixLoop", "EventStreamDatabase", "EventStream", "LibPQ"],
                path: "Tests/Support", swiftSettings: strict),
            .testTarget(
                name: "EventStreamTests",
                dependencies: [
                    "CommandLineSupport", "EventStreamDatabase", "EventStream", "EventStreamClient", "EventStreamServices",
                    "Prometheus",
                    "TestSupport", deque, logging,
                    .product(name: "CoreMetrics", package: "swift-metrics"),
                ],
                swiftSettings: strict),
            .testTarget(
                name: "LibPQTests", dependencies: ["PosixLoop", "LibPQ", "TestSupport"], swiftSettings: strict),
            .testTarget(name: "LibZMQTests", dependencies: ["PosixLoop", "LibZMQ"], swiftSettings: strict),
            .testTarget(
                name: "IntegrationTests",
                dependencies: [
                    "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient", "EventStreamServices", "LibPQ",
                    "TestSupport", "LibZMQ", logging, lifecycle, .product(name: "CoreMetrics", package: "swift-metrics"),
                    .product(name: "MetricsTestKit", package: "swift-metrics"),
                ], swiftSettings: strict),
            .testTarget(
                name: "ProcessTests",
                dependencies: [
                    "CommandLineSupport", "PosixLoop", "EventStreamDatabase", "EventStream", "EventStreamClient", "LibPQ",
                    "TestSupport", "LibZMQ",
                ]
                    + (roles + ["evt", "evt-load"]).map { .byName(name: $0) },
                exclude: ["Faults"], swiftSettings: strict),
        ]
)
