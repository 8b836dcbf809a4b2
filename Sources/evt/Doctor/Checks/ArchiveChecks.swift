import EventStream
import EventStreamDatabase
import EventStreamDiscarder

/// Whether what must be archived can be.
extension StreamChecks {
    /// Archivers that must hold events before these are discarded, and that nobody has registered. The discarder notes the same once
    /// there is something to discard.
    var missingArchivers: [Finding] {
        let names = status.consumers.map(\.consumer)
        return required.filter { !names.contains($0) }.sorted().compactMap { name in
            let known = status.consumers.filter { archivers.contains($0.consumer) || $0.verified > .none }.map(\.consumer)
            let missing = MissingArchiver(name, registered: names, archivers: known)
            guard !(status.refusal.map { MissingArchiver.isMeant(by: $0) && $0.contains(" \(name),") } ?? false) else {
                return nil
            }
            return Finding(.critical, "archive", "\(missing)", advice: missing.remedy)
        }
    }

    var refusal: Finding? {
        status.refusal.map { refusal in
            Finding(
                .critical, "archive", "confirmed events are kept: \(refusal)",
                advice: MissingArchiver.isMeant(by: refusal)
                    ? "evt consumers list shows the names there are; EVT_DISCARD_REQUIRE is a setting of evt-discarder, which reads it "
                        + "when it starts"
                    : "run evt archive verify; etc/docs/archive.md says how to put an archive right")
        }
    }

    /// A consumer whose next event is discarded.
    func archiveReader(_ consumer: StreamStatus.Consumer, moves: Bool) -> Finding {
        let name = consumer.consumer
        let text = "\(name) \(status.archiveText(of: consumer))"
        guard status.hasArchiveReader else {
            return Finding(
                .critical, "consumer", "\(text): it gets nothing",
                advice: "set EVT_ARCHIVE_URL for evt-pusher; or, to skip the discarded events, evt consumers set \(name) --to "
                    + "\(status.discarded)")
        }
        guard !moves else { return Finding(.note, "consumer", text) }
        guard consumer.isServed else {
            return Finding(
                .warning, "consumer", "\(text); it has no receiver, last seen \(consumer.lastSeen)",
                advice: "start its receiver; if it is not needed any more, evt consumers remove \(name)")
        }
        return Finding(
            .warning, "consumer", "\(text); it is served and confirms nothing",
            advice:
                "look at its receiver: it hangs, or answers with errors; the pusher's log has them, and what keeps it from the archive"
        )
    }
}
