package import EventStream

// Which group role may do what, and why. `evt docs roles` prints these tables.

extension StreamTables {
    /// In the active database, for tables whose schema is known.
    package var roleGrants: RoleGrants {
        precondition(events.schema != nil && consumers.schema != nil, "qualify the tables first")
        let segments = (0..<StreamTables.segmentCount).map { Grant.Object.table(segment($0)) }
        let (ids, delivered) = (Grant.Object.sequence(sequence), Grant.Object.sequence(mark))
        let adding = StreamTables.addArguments.map { Grant.Object.function(add, arguments: $0) }
        let addingAll = Grant.Object.function(addAll, arguments: "text[], text[], text[], text[], text[]")
        let rotating = Grant.Object.function(rotate, arguments: "interval")
        let keys = [self.keys.a, self.keys.b, rotation].map { Grant.Object.table($0) }
        let (events, consumers) = (Grant.Object.table(events), Grant.Object.table(consumers))
        let (state, pushers, migrations) = (
            Grant.Object.table(state), Grant.Object.table(pushers), Grant.Object.table(migrations)
        )
        let archives = Grant.Object.table(archives)
        let marks = Grant.Object.table(marks)
        let erasures = Grant.Object.table(erasures)
        let parked = Grant.Object.table(parked)
        let rewrite = "rewrite the table with the same rows when the table has grown"
        var grants = [
            Grant(.generator, "INSERT", columns: ["type", "data", "key", "meta"], on: events, "record events"),
            Grant(.generator, "EXECUTE", on: addingAll, "record events with idempotency keys"),
            Grant(.generator, "SELECT", columns: ["id"], on: events, "read the ids of recorded events"),
            Grant(.generator, "USAGE", on: ids, "draw ids"),
            Grant(.generator, "SELECT", on: delivered, "refuse ids that are not beyond the delivered ids"),

            Grant(.pusher, "SELECT", on: events, "read events"),
            Grant(.pusher, "USAGE", "UPDATE", on: ids, "move the ids beyond the ids already delivered"),
            Grant(.pusher, "USAGE", "UPDATE", on: delivered, "store how far events are delivered"),
            Grant(.pusher, "SELECT", on: consumers, "read positions"),
            Grant(
                .pusher, "INSERT", columns: ["ident", "last_evt_id", "reg_time", "last_time", "want"], on: consumers,
                "register consumers"),
            Grant(.pusher, "USAGE", on: .serial(self.consumers, column: "id"), "register consumers"),
            Grant(
                .pusher, "UPDATE",
                columns: [
                    "last_evt_id", "last_time", "session_owner", "session_epoch", "began_evt_id", "want", "paused",
                    "max_lag_events", "max_lag_time", "max_attempts", "failed_evt_id", "failed_attempts", "failed_alone",
                    "failed_error",
                    "takes_parked", "barrier",
                ], on: consumers,
                "store positions and sessions"),
            Grant(.pusher, "INSERT", "TRUNCATE", on: consumers, rewrite),
            Grant(.pusher, "SELECT", on: state, "read the state of the stream"),
            Grant(
                .pusher, "UPDATE",
                columns: ["settled", "generation", "generation_since", "generation_reason", "leap", "place"], on: state,
                "store how far the stream is settled, and begin generations"),
            Grant(.pusher, "INSERT", "TRUNCATE", on: state, rewrite),
            Grant(.pusher, "SELECT", "DELETE", on: pushers, "see other pushers, and remove dead pushers"),
            Grant(
                .pusher, "INSERT", columns: ["id", "application", "beat_interval", "reads_archive"], on: pushers,
                "register the pusher"),
            Grant(
                .pusher, "UPDATE", columns: ["beat", "looked", "erased"], on: pushers,
                "store heartbeats, and that erased data is dropped"),
            Grant(.pusher, "INSERT", "TRUNCATE", on: pushers, rewrite),
            Grant(.pusher, "SELECT", "DELETE", on: archives, "check the tokens of archivers, and remove old tokens"),
            Grant(.pusher, "INSERT", columns: ["ident", "token"], on: archives, "store the tokens of archivers"),
            Grant(.pusher, "SELECT", "INSERT", "UPDATE", "DELETE", on: parked, "park events, and deliver parked events again"),
            Grant(.pusher, "SELECT", "DELETE", on: marks, "read when the stream was settled, and remove old marks"),
            Grant(.pusher, "SELECT", columns: ["pass"], on: erasures, "see that data was erased"),
            Grant(.pusher, "INSERT", "TRUNCATE", on: marks, "store when the stream was settled; \(rewrite)"),

            Grant(.discarder, "SELECT", on: events, "find confirmed events"),
            Grant(.discarder, "SELECT", on: consumers, "read positions"),
            Grant(
                .discarder, "UPDATE", columns: ["verified_evt_id", "verified_all"], on: consumers,
                "store how far the archive is verified"),
            Grant(.discarder, "SELECT", on: state, "read the state of the stream"),
            Grant(
                .discarder, "UPDATE", columns: ["discarded", "refusal", "max_lag"], on: state,
                "store how far events are discarded, and how it is set"),
            Grant(.discarder, "SELECT", on: archives, "check the tokens of archivers"),
            Grant(.discarder, "SELECT", on: marks, "read when the stream was settled"),
            Grant(.discarder, "SELECT", on: pushers, "see whether pushers are alive"),
            Grant(
                .discarder, "SELECT", columns: ["number", "erasure", "ids"], on: erasures,
                "wait while an archive has data that is being erased"),
            Grant(.discarder, "EXECUTE", on: rotating, "remove old idempotency keys"),
        ]
        grants += adding.map { Grant(.app, "EXECUTE", on: $0, "record events") }
        grants += segments.map {
            Grant(.discarder, "SELECT", "DELETE", "TRUNCATE", on: $0, "delete confirmed events, and empty complete segments")
        }
        grants += [events, consumers, state, pushers, ids, marks, archives, erasures, parked].map {
            Grant(.monitor, "SELECT", on: $0, "report the state of the stream")
        }
        let (mine, theirs) = (self.events.schema!, self.consumers.schema!)
        for role in [GroupRole.app, .generator, .pusher, .discarder, .monitor] {
            grants += RoleGrants.entry(role, mine, role == .app ? nil : migrations)
            if role != .app && theirs != mine { grants.append(Grant(role, "USAGE", on: .schema(theirs), "use the tables")) }
        }
        return RoleGrants(
            grants: grants,
            objects: [
                events, consumers, state, pushers, archives, marks, erasures, parked, migrations, ids, delivered, addingAll,
                rotating,
            ] + adding + keys + segments)
    }
}

extension ArchiveTables {
    /// In the warehouse database, for a table whose schema is known. The history's partitions, also those made later, are
    /// reached through it.
    package var roleGrants: RoleGrants {
        precondition(history.schema != nil, "qualify the tables first")
        let (positions, sums) = (Grant.Object.table(positions), Grant.Object.table(sums))
        let (lost, expired) = (Grant.Object.table(lost), Grant.Object.table(expired))
        let erased = Grant.Object.table(erased)
        let make = Grant.Object.function(partitions, arguments: "date, date")
        let (history, migrations) = (Grant.Object.table(history), Grant.Object.table(migrations))
        let event = ["id", "type", "data", "ts", "key", "meta"]
        var grants = [
            Grant(.archiver, "TEMPORARY", on: .database, "compare arriving events in a temporary table"),
            Grant(.archiver, "SELECT", "DELETE", on: history, "compare events, and set aside events the stream has lost"),
            Grant(.archiver, "INSERT", columns: event, on: history, "archive events"),
            Grant(
                .archiver, "UPDATE", columns: ["data", "ts", "key", "meta"], on: history, "make rows of the Node archiver exact"),
            Grant(.archiver, "EXECUTE", on: make, "make partitions"),
            Grant(
                .archiver, "SELECT", "INSERT", "TRUNCATE", on: positions,
                "register the archiver; rewrite the table with the same rows when the table has grown"),
            Grant(
                .archiver, "UPDATE",
                columns: [
                    "last_evt_id", "last_time", "want", "stream", "generation", "generation_start", "doubtful_after",
                    "doubtful_id", "token", "keep_alive", "complete_from",
                ], on: positions, "store the position with the events"),
            Grant(.archiver, "SELECT", "DELETE", on: sums, "remove sums of events that are set aside"),
            Grant(.archiver, "UPDATE", columns: ["last_id", "events", "checksum"], on: sums, "shorten sums"),
            Grant(.archiver, "INSERT", columns: event + ["ident", "generation"], on: lost, "set aside events"),
            Grant(.archiver, "SELECT", on: expired, "make no partitions of months that have ended"),
            Grant(.archiver, "SELECT", columns: ["id", "type", "ts"], on: erased, "archive no data that was erased"),

            Grant(.pusher, "SELECT", on: history, "read discarded events"),
            Grant(.pusher, "SELECT", on: positions, "read how far events are archived"),

            Grant(.discarder, "SELECT", on: history, "verify events before the events are discarded"),
            Grant(.discarder, "SELECT", on: positions, "read how far events are archived"),
            Grant(.discarder, "SELECT", on: sums, "extend sums"),
            Grant(.discarder, "SELECT", columns: ["number", "erasure"], on: erased, "compare again what was erased meanwhile"),
            Grant(
                .discarder, "INSERT", columns: ["ident", "first_id", "last_id", "want", "events", "checksum"], on: sums,
                "store the sums of verified events"),
            Grant(.discarder, "UPDATE", columns: ["last_id", "events", "checksum", "compared"], on: sums, "extend sums"),
        ]
        grants += [history, positions, sums, lost, expired, erased].map {
            Grant(.monitor, "SELECT", on: $0, "report the state of the archive")
        }
        for role in [GroupRole.archiver, .pusher, .discarder, .monitor] {
            grants += RoleGrants.entry(role, self.history.schema!, migrations)
        }
        return RoleGrants(grants: grants, objects: [history, positions, sums, lost, expired, erased, migrations, make])
    }
}

extension RoleGrants {
    /// What every role needs to reach the tables.
    fileprivate static func entry(_ role: GroupRole, _ schema: String, _ migrations: Grant.Object?) -> [Grant] {
        [Grant(role, "CONNECT", on: .database, "connect"), Grant(role, "USAGE", on: .schema(schema), "use the tables")]
            + [migrations.map { Grant(role, "SELECT", on: $0, "check the version of the schema") }].compactMap(\.self)
    }
}
