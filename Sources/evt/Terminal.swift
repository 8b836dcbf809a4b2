import CommandLineSupport
import EventStream
import Glibc

/// How text may look where standard output is a terminal, and nothing else elsewhere (https://no-color.org).
struct Style: Sendable {
    let isPlain: Bool

    static let standard = Style(isPlain: !Terminal.isThere || getenv("NO_COLOR").map { $0.pointee != 0 } ?? false)

    /// How something looks; the numbers are those of ECMA-48, SGR.
    enum Look: Int, Sendable { case plain = 0, bold = 1, dim = 2, bad = 31, good = 32, warning = 33 }

    func text(_ text: String, _ look: Look) -> String {
        isPlain || look == .plain ? text : "\u{1B}[\(look.rawValue)m\(text)\u{1B}[0m"
    }
}

enum Terminal {
    /// Whether standard output is a terminal that knows more than letters.
    static var isThere: Bool {
        isatty(STDOUT_FILENO) != 0 && getenv("TERM").map { String(cString: $0) != "dumb" } ?? false
    }

    /// Puts text in the place of what was there before, as much as the window holds; below it where output is no terminal.
    static func replace(with text: String) {
        if isThere {
            print("\u{1B}[H\u{1B}[2J" + fitted(text, rows: rows))
        } else {
            print(text + "\n")
        }
        if fflush(nil) != 0 { outputFailed(errno) }
    }

    private static var rows: Int {
        var size = winsize()
        return ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 0 ? Int(size.ws_row) : 24
    }

    /// The last row stays free for the cursor.
    static func fitted(_ text: String, rows: Int) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= rows, rows > 3 else { return text }
        return lines.prefix(rows - 2).joined(separator: "\n") + "\n… and \(lines.count - rows + 2) more"
    }
}

/// A table with aligned columns; numbers to the right.
struct TextTable {
    struct Cell {
        let text: String
        let look: Style.Look
        init(_ text: String, _ look: Style.Look = .plain) {
            self.text = printable(text)
            self.look = look
        }
    }

    private let header: [String]
    private let numeric: Set<Int>
    private var rows: [[Cell]] = []

    init(_ header: [String], numeric: Set<Int>) {
        self.header = header
        self.numeric = numeric
    }

    mutating func add(_ cells: [Cell]) { rows.append(cells) }

    func text(_ style: Style) -> String {
        let all = [header.map { Cell($0, .dim) }] + rows
        let widths = header.indices.map { column in all.map { $0[column].text.count }.max() ?? 0 }
        return all.map { row in
            row.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.text.count)
                if numeric.contains(column) { return space + style.text(cell.text, cell.look) }
                return style.text(cell.text, cell.look) + (column == row.count - 1 ? "" : space)
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}

/// On one line, and without what a terminal would obey: for text that somebody else has written.
func printable(_ text: String) -> String { SafeText.line(text) }

/// A length of time in two units at most.
func timeText(_ seconds: Double) -> String {
    let whole = Int(seconds)
    return switch seconds {
    case ..<60: "\((seconds * 10).rounded() / 10)s"
    case ..<3600: "\(whole / 60)m\(whole % 60)s"
    case ..<86_400: "\(whole / 3600)h\(whole / 60 % 60)m"
    default: "\(whole / 86_400)d\(whole / 3600 % 24)h"
    }
}

/// `1.5 MiB`.
func sizeText(_ bytes: Int) -> String {
    var (value, unit) = (Double(bytes), 0)
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
    return unit == 0 ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(units[unit])"
}

/// `12 345 678`.
func countText(_ count: Int) -> String {
    var (digits, output) = (Array(String(abs(count))), "")
    while digits.count > 3 {
        output = " " + String(digits.suffix(3)) + output
        digits.removeLast(3)
    }
    return (count < 0 ? "-" : "") + String(digits) + output
}

/// `1 event`, `2 events`.
func events(_ count: Int) -> String { "\(countText(count)) event\(count == 1 ? "" : "s")" }
