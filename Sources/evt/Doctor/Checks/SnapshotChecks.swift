import EventStreamDatabase

/// Small tables that old snapshots have made large, and who has these. Pure: facts in, findings out.
struct SnapshotChecks {
    let tables: [StreamFacts.Table]
    /// The oldest first.
    let holders: [SnapshotHolder]

    /// Bytes of a table that are no matter, and those that a row of it may take with its old versions.
    private static let (least, perRow) = (2 << 20, 8 << 10)
    /// A snapshot that is younger has nothing to do with it.
    private static let age = 5.0

    var findings: [Finding] {
        let grown = tables.filter { $0.bytes > max(SnapshotChecks.least, $0.liveRows * SnapshotChecks.perRow) }
        guard !grown.isEmpty else { return [] }
        let text = grown.map { "\($0.name) takes \(sizeText($0.bytes)) for \($0.liveRows) rows" }.joined(separator: ", ")
        let old = holders.filter { $0.age > SnapshotChecks.age || $0.since.isEmpty }
        guard let oldest = old.first else {
            return [
                Finding(
                    .warning, "bloat", "\(text), and nothing has an old snapshot now",
                    advice: "a pusher makes such a table anew; its log says what keeps it from that, or VACUUM FULL the table")
            ]
        }
        let others = old.dropFirst().map { "; then \($0.name)" }.joined()
        return [
            Finding(
                .warning, "snapshot",
                "\(text): old versions of their rows are kept for \(oldest)\(others). Storing positions gets slow",
                advice: oldest.advice)
        ]
    }
}
