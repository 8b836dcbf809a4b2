import CommandLineSupport

/// Something the doctor has looked at.
struct Finding: Sendable {
    enum Severity: Int, Comparable, Sendable {
        case fine, note, warning, critical

        static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

        var name: String {
            switch self {
            case .fine: "ok"
            case .note: "note"
            case .warning: "warning"
            case .critical: "critical"
            }
        }
        var look: Style.Look {
            switch self {
            case .fine: .good
            case .note: .dim
            case .warning: .warning
            case .critical: .bad
            }
        }
    }

    let severity: Severity
    /// What was looked at: one word.
    let subject: String
    let text: String
    /// What to do; nothing where nothing is to be done.
    let advice: String?

    init(_ severity: Severity, _ subject: String, _ text: String, advice: String? = nil) {
        self.severity = severity
        self.subject = subject
        // libpq goes on below, indented. Names and words in it may be somebody else's.
        self.text = printable(text.replacing("\n\t", with: " "))
        self.advice = advice.map(printable)
    }

    func page(_ style: Style) -> String {
        let label = severity.name + String(repeating: " ", count: 9 - severity.name.count)
        let first = style.text(label, severity.look) + style.text(subject + ": ", .bold) + text
        return advice.map { first + "\n" + String(repeating: " ", count: 9) + style.text("→ ", .dim) + $0 } ?? first
    }

    var json: String {
        jsonObject([
            ("severity", jsonQuoted(severity.name)), ("subject", jsonQuoted(subject)), ("text", jsonQuoted(text)),
            ("advice", jsonText(advice)),
        ])
    }
}
