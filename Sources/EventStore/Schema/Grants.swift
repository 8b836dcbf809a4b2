public import EventStream

// Which group role may do what. `etc/docs/roles.md` has the same for people.

extension StreamTables {
    /// In the active database, for tables whose schema is known.
    public var roleGrants: RoleGrants {
        precondition(events.schema != nil && consumers.schema != nil, "qualify the tables first")
        let segments = (0..<StreamTables.segmentCount).map { Grant.Object.table(segment($0)) }
        let (ids, delivered) = (Grant.Object.sequence(sequence), Grant.Object.sequence(mark))
        let record = Grant.Object.function(add, arguments: "text, json")
        let (events, consumers) = (Grant.Object.table(events), Grant.Object.table(consumers))
        let (state, pushers, migrations) = (
            Grant.Object.table(state), Grant.Object.table(pushers), Grant.Object.table(migrations)
        )
        let archives = Grant.Object.table(archives)
        let marks = Grant.Object.table(marks)
        var grants = [
            Grant(.app, "EXECUTE", on: record),

            Grant(.generator, "INSERT", columns: ["type", "data"], on: events),
            Grant(.generator, "SELECT", columns: ["id"], on: events),
            Grant(.generator, "USAGE", on: ids), Grant(.generator, "SELECT", on: delivered),

            Grant(.pusher, "SELECT", on: events), Grant(.pusher, "USAGE", "UPDATE", on: ids),
            Grant(.pusher, "USAGE", "UPDATE", on: delivered), Grant(.pusher, "SELECT", on: consumers),
            Grant(.pusher, "INSERT", columns: ["ident", "last_evt_id", "reg_time", "last_time", "want"], on: consumers),
            Grant(.pusher, "USAGE", on: .serial(self.consumers, column: "id")),
            Grant(
                .pusher, "UPDATE",
                columns: ["last_evt_id", "last_time", "session_owner", "session_epoch", "began_evt_id", "want"], on: consumers),
            Grant(.pusher, "SELECT", on: state),
            Grant(
                .pusher, "UPDATE",
                columns: ["settled", "generation", "generation_since", "generation_reason", "leap", "place"], on: state),
            Grant(.pusher, "SELECT", "DELETE", on: pushers),
            Grant(.pusher, "INSERT", columns: ["id", "application", "beat_interval"], on: pushers),
            Grant(.pusher, "UPDATE", columns: ["beat", "looked"], on: pushers),
            Grant(.pusher, "SELECT", "DELETE", on: archives),
            Grant(.pusher, "INSERT", columns: ["ident", "token"], on: archives),
            Grant(.pusher, "SELECT", "DELETE", on: marks),

            Grant(.discarder, "SELECT", on: events), Grant(.discarder, "SELECT", on: consumers),
            Grant(.discarder, "UPDATE", columns: ["verified_evt_id"], on: consumers), Grant(.discarder, "SELECT", on: state),
            Grant(.discarder, "UPDATE", columns: ["discarded", "refusal"], on: state),
            Grant(.discarder, "SELECT", on: archives), Grant(.discarder, "SELECT", on: marks),
            Grant(.discarder, "SELECT", on: pushers),

            Grant(.monitor, "SELECT", on: events), Grant(.monitor, "SELECT", on: consumers),
            Grant(.monitor, "SELECT", on: state), Grant(.monitor, "SELECT", on: pushers), Grant(.monitor, "SELECT", on: ids),
            Grant(.monitor, "SELECT", on: marks), Grant(.monitor, "SELECT", on: archives),
        ]
        // For the small tables that are made anew, row by row as they are.
        grants += [consumers, state, pushers, marks].map { Grant(.pusher, "INSERT", "TRUNCATE", on: $0) }
        grants += segments.map { Grant(.discarder, "SELECT", "DELETE", "TRUNCATE", on: $0) }
        let (mine, theirs) = (self.events.schema!, self.consumers.schema!)
        for role in [GroupRole.app, .generator, .pusher, .discarder, .monitor] {
            grants += [Grant(role, "CONNECT", on: .database), Grant(role, "USAGE", on: .schema(mine))]
            if role != .app { grants.append(Grant(role, "SELECT", on: migrations)) }
            if role != .app && theirs != mine { grants.append(Grant(role, "USAGE", on: .schema(theirs))) }
        }
        return RoleGrants(
            grants: grants,
            objects: [events, consumers, state, pushers, archives, marks, migrations, ids, delivered, record] + segments)
    }
}

extension ArchiveTables {
    /// In the warehouse database, for a table whose schema is known. The history's partitions, also those made later, are
    /// reached through it.
    public var roleGrants: RoleGrants {
        precondition(history.schema != nil, "qualify the tables first")
        let (positions, sums, lost) = (Grant.Object.table(positions), Grant.Object.table(sums), Grant.Object.table(lost))
        let make = Grant.Object.function(partitions, arguments: "date, date")
        let (history, migrations) = (Grant.Object.table(history), Grant.Object.table(migrations))
        let event = ["id", "type", "data", "ts"]
        var grants = [
            // For the table that what arrives is compared in.
            Grant(.archiver, "TEMPORARY", on: .database),
            Grant(.archiver, "SELECT", "DELETE", on: history), Grant(.archiver, "INSERT", columns: event, on: history),
            Grant(.archiver, "UPDATE", columns: ["data", "ts"], on: history), Grant(.archiver, "EXECUTE", on: make),
            // It makes the table of positions anew, row by row as it is.
            Grant(.archiver, "SELECT", "INSERT", "TRUNCATE", on: positions),
            Grant(
                .archiver, "UPDATE",
                columns: [
                    "last_evt_id", "last_time", "want", "stream", "generation", "generation_start", "doubtful_after",
                    "doubtful_id", "token", "keep_alive",
                ], on: positions),
            Grant(.archiver, "SELECT", "DELETE", on: sums),
            Grant(.archiver, "UPDATE", columns: ["last_id", "events", "checksum"], on: sums),
            Grant(.archiver, "INSERT", columns: event + ["ident", "generation"], on: lost),

            Grant(.discarder, "SELECT", on: history), Grant(.discarder, "SELECT", on: positions),
            Grant(.discarder, "SELECT", on: sums),
            Grant(
                .discarder, "INSERT", columns: ["ident", "first_id", "last_id", "want", "events", "checksum"], on: sums),
            Grant(.discarder, "UPDATE", columns: ["last_id", "events", "checksum", "compared"], on: sums),

            Grant(.monitor, "SELECT", on: history), Grant(.monitor, "SELECT", on: positions),
            Grant(.monitor, "SELECT", on: sums), Grant(.monitor, "SELECT", on: lost),
        ]
        for role in [GroupRole.archiver, .discarder, .monitor] {
            grants += [
                Grant(role, "CONNECT", on: .database), Grant(role, "USAGE", on: .schema(self.history.schema!)),
                Grant(role, "SELECT", on: migrations),
            ]
        }
        return RoleGrants(grants: grants, objects: [history, positions, sums, lost, migrations, make])
    }
}
