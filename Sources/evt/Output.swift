import CommandLineSupport
import EventStream
import Glibc

func printError(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Prints events, one JSON object a line, at once.
///
/// - Throws: ``ReaderGone`` where nobody reads any more, and a ``CommandFailure`` where it cannot be written.
func printLines(_ events: [Event]) throws {
    var output: [UInt8] = []
    for event in events {
        // White space between JSON tokens may be a line break; strings hold none that is not escaped.
        output += event.json.map { $0 < 0x20 ? 0x20 : $0 }
        output.append(UInt8(ascii: "\n"))
    }
    var rest = output[...]
    while !rest.isEmpty {
        let written = rest.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        if written < 0 && errno == EINTR { continue }
        guard written > 0 else {
            guard errno != EPIPE else { throw ReaderGone() }
            throw CommandFailure("standard output cannot be written: \(String(cString: strerror(errno)))")
        }
        rest.removeFirst(written)
    }
}
