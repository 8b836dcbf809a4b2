import Foundation

/// What was checked, a line each, and whether all of it was right.
struct Verdict {
    private(set) var lines: [String] = []
    private(set) var isGood = true

    mutating func check(_ what: String, _ text: String, _ good: Bool) {
        lines.append(what.padding(toLength: 22, withPad: " ", startingAt: 0) + text + (good ? "" : "   <-- WRONG"))
        if !good { isGood = false }
    }

    var summary: String { isGood ? "VERDICT: everything agrees" : "VERDICT: SOMETHING IS WRONG" }
}
