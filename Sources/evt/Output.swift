import CommandLineSupport
import EventStream
import Glibc

/// The words may be a server's, or those of somebody who uses it.
func printError(_ text: String) {
    let bytes = Array((SafeText.lines(text) + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Prints events, one JSON object a line, at once. A terminal gets nothing that it would obey; others every byte as it is.
///
/// - Throws: ``ReaderGone`` where nobody reads any more, and a ``CommandFailure`` where it cannot be written.
func printLines(_ events: [Event]) throws {
    let isTerminal = isatty(STDOUT_FILENO) != 0
    var output: [UInt8] = []
    for event in events {
        // White space between JSON tokens may be a line break; strings hold none that is not escaped.
        output += isTerminal ? SafeText.json(event.json) : event.json.map { $0 < 0x20 ? 0x20 : $0 }
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
