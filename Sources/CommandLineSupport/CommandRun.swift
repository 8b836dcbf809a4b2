package import ArgumentParser
import CGlibc
import EventStream
import EventStreamServer
import Glibc
import LibPQ

/// Runs a command to the end of the process: as ArgumentParser does, and what it printed is known to have been written.
///
/// An error is told without anything a terminal would obey: its words may be a stranger's.
///
/// - Parameter isService: runs until it is told to stop, which may be before it has begun.
package func runCommand<Command: AsyncParsableCommand>(_ type: Command.Type, isService: Bool = false) async -> Never {
    if isService { expectSignals() }
    occupyStandardDescriptors()
    signal(SIGPIPE, SIG_IGN)
    do {
        var command = try await Command.asyncParseAsRoot()
        if var command = command as? any AsyncParsableCommand {
            try await command.run()
        } else {
            try command.run()
        }
    } catch {
        let code = Command.exitCode(for: error).rawValue
        let text = words(of: error, in: Command.self)
        if code == 0 {
            if !text.isEmpty { print(text) }
        } else if !text.isEmpty {
            writeError(text)
        }
        finish(code)
    }
    finish(0)
}

/// Ends the process; what was printed and could not be written makes it fail.
private func finish(_ code: Int32) -> Never {
    let failed = fflush(nil) != 0
    let reason = errno
    if failed || evt_stdout_failed() != 0 { outputFailed(failed ? reason : 0, code) }
    exit(code)
}

/// Standard output could not be written: ends the process with words, or, where its reader has gone, quietly.
///
/// - Parameter code: the status, if it is one of failure already.
package func outputFailed(_ reason: Int32, _ code: Int32 = 0) -> Never {
    // Whoever reads has all that was wanted.
    var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
    if reason == EPIPE || poll(&output, 1, 0) == 1 && output.revents & Int16(POLLERR) != 0 { _exit(code) }
    let why = reason == 0 ? "" : ": \(String(cString: strerror(reason)))"
    writeError("Error: standard output cannot be written\(why); what was printed is not complete")
    // Nothing more is flushed.
    _exit(code == 0 ? 1 : code)
}

/// What is told of an error.
private func words<Command: AsyncParsableCommand>(of error: any Error, in type: Command.Type) -> String {
    switch error {
    // Written by servers, and those who use them.
    case is EventStreamError: "Error: " + SafeText.line("\(error)")
    case is PostgresError, is ConfigurationError: "Error: " + SafeText.lines("\(error)")
    default: words(of: type.fullMessage(for: error), isValue: error is ValidationError)
    }
}

/// A value that is wrong is told in one line: how the command is called is not the question.
private func words(of message: String, isValue: Bool) -> String {
    let lines = message.split(separator: "\n", omittingEmptySubsequences: false).map { SafeText.line(String($0)) }
    return (isValue || lines[0].contains("' is invalid for '") ? Array(lines[..<1]) : lines).joined(separator: "\n")
}

private func writeError(_ text: String) {
    fflush(nil)
    let bytes = Array((text + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// A standard descriptor that is closed would be given to the next file or connection, and get what is printed. So it is occupied by
/// one with which nothing can be done.
private func occupyStandardDescriptors() {
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 && errno == EBADF {
        // The lowest that is free is this one.
        _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
    }
}

/// A service that is told to stop before it has begun has nothing to bring to an end; that is no failure. And who wants its files to
/// be read again has them read soon. From when on it listens to signals, other handlers take the place of these.
private func expectSignals() {
    for number in [SIGTERM, SIGINT] { signal(number) { _ in LogWriter.waitInHandler(then: 0) } }
    signal(SIGHUP, SIG_IGN)
}
