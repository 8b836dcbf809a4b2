import EventStreamDatabase

/// What the locks that others have mean for the stream. Pure: facts in, findings out.
struct LockChecks {
    let tables: [TableLock]
    var roles: [RoleLock] = []

    var findings: [Finding] {
        tables.map { lock in
            Finding(lock.isOfRows ? .warning : .critical, "lock", "\(lock)", advice: lock.advice)
        }
            + roles.map { lock in
                // One with the right to it may be a process of ours under another name.
                let isOurs = lock.mayHaveIt && !lock.isLate
                return Finding(
                    isOurs ? .warning : .critical, "lock",
                    isOurs ? "\(lock), unless that is a process of the stream with an application_name of its own" : "\(lock)",
                    advice: lock.advice)
            }
    }
}
