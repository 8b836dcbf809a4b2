// swift-tools-version: 6.2
import PackageDescription

// By itself, because of what it is compiled and linked with: etc/fuzz knows.
let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "eventstream", path: "../..")],
    targets: [
        .executableTarget(
            name: "fuzz", dependencies: [.product(name: "EventStream", package: "eventstream")], path: "Sources",
            swiftSettings: Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)],
            linkerSettings: [.linkedLibrary("m"), .linkedLibrary("stdc++")])
    ]
)
