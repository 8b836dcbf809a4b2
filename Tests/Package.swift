// swift-tools-version: 6.2
import PackageDescription

// Fuzzing, by itself, because of what it is compiled and linked with: etc/fuzz knows. All other tests are in ../Package.swift.
let warnings: [SwiftSetting] = Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)]
let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "eventstream", path: "..")],
    targets: [
        .target(name: "ReferenceJSON", path: "Support", sources: ["ReferenceJSON.swift"], swiftSettings: warnings),
        .executableTarget(
            name: "fuzz", dependencies: ["ReferenceJSON", .product(name: "EventStream", package: "eventstream")], path: "Fuzz",
            exclude: ["Corpus", "access.dict", "protocol.dict"], swiftSettings: warnings,
            linkerSettings: [.linkedLibrary("m"), .linkedLibrary("stdc++")]),
    ]
)
