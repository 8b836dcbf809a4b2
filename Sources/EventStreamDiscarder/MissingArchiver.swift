import EventStream

/// An archiver that `EVT_DISCARD_REQUIRE` names, and that has archived nothing: its name is misspelt, or it has not been started.
package struct MissingArchiver: Hashable, Sendable, CustomStringConvertible {
    /// The one that is named.
    package let required: String
    /// Whether it is a registered consumer at least.
    package let isRegistered: Bool
    /// Those there are, the closest name first.
    package let archivers: [String]

    /// - Parameters:
    ///   - registered: the consumers there are.
    ///   - archivers: those known to be archivers.
    package init(_ required: String, registered: [String], archivers: [String]) {
        self.required = required
        isRegistered = registered.contains(required)
        let known = Set(archivers).intersection(registered)
        self.archivers = (known.isEmpty ? Array(Set(archivers)) : Array(known)).filter { $0 != required }.sorted {
            (MissingArchiver.distance(required, $0), $0) < (MissingArchiver.distance(required, $1), $1)
        }
    }

    package var description: String {
        MissingArchiver.beginning + required + ", "
            + (isRegistered
                ? "which is registered, but has never archived into this warehouse" : "and no such archiver is registered")
            + "; "
            + (archivers.isEmpty
                ? "no other archiver is known either"
                : "those there are: \(archivers.prefix(5).joined(separator: ", "))\(archivers.count > 5 ? ", …" : "")")
            + ". " + remedy
    }

    /// What can be done.
    package var remedy: String {
        let start = "start evt-archiver with EVT_ARCHIVER_COMPONENT=\(MissingArchiver.short(required))"
        guard let closest = archivers.first else { return "Either \(start), or take the name out of EVT_DISCARD_REQUIRE" }
        return "Set EVT_DISCARD_REQUIRE=\(MissingArchiver.short(closest)) for evt-discarder, or \(start)"
    }

    private static let beginning = "EVT_DISCARD_REQUIRE names "

    /// Whether a reason for keeping events is of this kind.
    package static func isMeant(by refusal: String) -> Bool { refusal.contains(beginning) }

    /// As settings have it: the local user goes without saying.
    private static func short(_ name: String) -> String {
        name.hasPrefix("\(ConsumerIdentity.localUser):") ? String(name.dropFirst(ConsumerIdentity.localUser.count + 1)) : name
    }

    /// How many letters have to be changed, added or left out, and neighbours exchanged, to make one of the other.
    package static func distance(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a.utf8), Array(b.utf8))
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var best = min(rows[i][j] + (a[i] == b[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, rows[i - 1][j - 1] + 1) }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
