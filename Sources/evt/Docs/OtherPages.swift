import EventStream
import EventStreamDatabase
import EventStreamServer

let metricsPage =
    """
    # Metrics

    Each process serves these metrics at `/metrics` (`EVT_METRICS_BIND`) in the text format of Prometheus, and
    `process_cpu_seconds_total`, `process_open_fds`, `process_resident_memory_bytes` and `process_start_time_seconds` as the client
    libraries of Prometheus do. The label `consumer` is `user:component`; without keys the user is `local`.

    """
    + ([("Every process", Metric.all.filter { $0.roles.count > 1 })]
    + Role.allCases.map { role in ("The \(role)", Metric.all.filter { $0.roles == [role] }) }).map { title, metrics in
        let rows = metrics.map { metric in
            [
                code(metric.name), metric.kind.rawValue, metric.unit ?? "", metric.labels.map(code).joined(separator: ", "),
                metric.help + (title == "Every process" && metric.roles != Role.allCases ? roles(of: metric) : ""),
            ]
        }
        return "\n## \(title)\n\n" + table(["metric", "kind", "unit", "labels", "meaning"], rows)
    }.joined()

private func roles(of metric: Metric) -> String { " (\(metric.roles.map { "\($0)" }.joined(separator: ", ")))" }

let rolesPage =
    """
    # Roles and rights

    `evt migrate --roles` makes these group roles in PostgreSQL, and gives each role the rights below: the least rights the work
    needs. All other rights on these tables are taken from the roles. A role that logs in becomes a member:
    `CREATE ROLE my_pusher LOGIN IN ROLE evt_pusher`. The names are those of the standard tables.

    """
    + GroupRole.allCases.map { role in
        let databases = [
            ("active database", StreamTables.standard.qualified(in: "public").roleGrants),
            ("warehouse", ArchiveTables.standard.qualified(in: "public").roleGrants),
        ]
        let seeing =
            GroupRole.seeingSessions.contains(role)
            ? "\nMember of `pg_read_all_stats`: to see since when sessions of other roles hold the stream back. The role works without.\n"
            : ""
        return "\n## `\(role)`\n\nFor \(role.members).\n\(seeing)"
            + databases.map { database, grants in
                let rows = rows(of: grants.grants.filter { $0.role == role })
                return rows.isEmpty ? "" : "\n" + table(["\(database)", "rights", "to"], rows)
            }.joined()
    }.joined()

/// Grants of the same for the same reason are one row.
private func rows(of grants: [Grant]) -> [[String]] {
    var rows: [[String]] = []
    for grant in grants {
        let (rights, object) = (code(grant.words.rights), code(grant.words.object))
        if let last = rows.last, last[1] == rights, last[2] == grant.why {
            rows[rows.count - 1][0] += ", \(object)"
        } else {
            rows.append([object, rights, grant.why])
        }
    }
    return rows
}

let errorsPage =
    """
    # Errors

    An error answer has one of these names in `e`, and a text for people in `edesc`. Only the names are for programs. A call that
    can be retried may succeed later without a change. If the outcome of `addEvent` is unknown, a retry may record the event twice, unless
    both calls have the same `idempotency_key`.

    Names of servers:

    """ + "\n" + errorTable { $0.isOfServers } + "\nNames made by the client library:\n\n" + errorTable { !$0.isOfServers }

private func errorTable(_ isMeant: (EventStreamError.Code) -> Bool) -> String {
    table(
        ["name", "meaning", "retry"],
        EventStreamError.Code.allCases.filter(isMeant).map { [code($0.rawValue), $0.meaning, $0.isRetriable ? "yes" : "no"] })
}
