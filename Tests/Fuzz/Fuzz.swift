import Glibc

/// What strangers send, by who reads it.
enum Target: String, CaseIterable {
    case wire, events, certificate
    case authorizedKeys = "authorized-keys"

    /// Reads the bytes, and compares what was read with what there is to compare it with.
    func check(_ bytes: [UInt8]) {
        switch self {
        case .wire: checkMessage(bytes)
        case .events: checkEvents(bytes)
        case .certificate: checkCertificate(bytes)
        case .authorizedKeys: checkAuthorizedKeys(bytes)
        }
    }
}

/// Ends the process, which keeps the input.
func require(_ holds: Bool, _ promise: StaticString) {
    guard !holds else { return }
    fatalError("broken: \(promise)")
}

/// libFuzzer, with a main of our own.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ check: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

@main struct Fuzz {
    /// In the environment, as libFuzzer starts itself again with its own arguments.
    private static let target = getenv("EVT_FUZZ_TARGET").flatMap { Target(rawValue: String(cString: $0)) }

    static func main() {
        guard let target else {
            print("EVT_FUZZ_TARGET must be one of \(Target.allCases.map(\.rawValue).joined(separator: ", "))")
            exit(2)
        }
        for (name, bytes) in target.largeInputs {
            // What is printed last is what took too long.
            print(name)
            fflush(nil)
            alarm(5)
            target.check(bytes)
        }
        alarm(0)
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        exit(
            runFuzzer(&count, &arguments) { start, count in
                Fuzz.target?.check(Array(UnsafeBufferPointer(start: start, count: count)))
                return 0
            })
    }
}
