import EventStreamServer

let settingsPage =
    """
    # Settings

    A setting is read from a flag, then from the environment, then from a file of `NAME=value` lines (`--env-file` or
    `EVT_ENV_FILE`); else the default counts. The flag of a setting is the name without `EVT_`: `EVT_ACK_TIMEOUT` is
    `--ack-timeout`. Durations read like `250us`, `200ms`, `30s`, `5m`, `2h`, `7d`. A process does not start with an invalid value.
    A name that begins with `EVT_` and is no setting is reported in the log.

    Passwords belong in the environment, the file, `EVT_DATABASE_URL_FILE` and `EVT_ARCHIVE_URL_FILE`, or `~/.pgpass`; on the
    command line passwords are refused.

    """
    + SettingGroup.allCases.map { group in
        let settings = Settings.facts(of: group)
        let rows = settings.map { setting in
            [
                code(setting.name), code(setting.standard ?? ""), setting.range ?? "", setting.meaning,
                setting.readers.count == Program.allCases.count
                    ? "all" : setting.readers.map { "\($0)".replacing("evt-", with: "") }.joined(separator: ", "),
            ]
        }
        return "\n## \(group.rawValue)\n\n" + table(["setting", "default", "range", "meaning", "read by"], rows)
    }.joined()

let environmentExample =
    """
    # Settings of the processes and of evt; each setting is also a flag. Commented lines show the defaults.
    # Use this file with --env-file or EVT_ENV_FILE, or as the environment file of systemd, supervisor or a Procfile runner.
    # Settings that differ between processes that share the file, such as EVT_METRICS_BIND and EVT_CURVE_KEY, belong in a file of
    # each process.

    """
    + SettingGroup.allCases.map { group in
        let settings = Settings.facts(of: group).filter { $0.name != "EVT_ENV_FILE" }
        return "\n# \(group.rawValue)\n"
            + settings.map { setting in
                let range = setting.range.map { ": \($0)" } ?? ""
                let line =
                    examples[setting.name].map { "\(setting.name)=\($0)" } ?? "# \(setting.name)=\(setting.standard ?? "")"
                return wrapped(setting.meaning + range) + line + "\n"
            }.joined()
    }.joined()

/// What everybody has to think about.
private let examples = [
    "EVT_DATABASE_URL": "postgresql:///app", "EVT_ARCHIVE_URL": "postgresql:///app_history", "EVT_DISCARD_REQUIRE": "ARCHIVER",
]

/// A comment in lines of 120 letters at most.
private func wrapped(_ text: String) -> String {
    var lines = ["\n#"]
    for word in text.split(separator: " ") {
        if lines[lines.count - 1].count + word.count >= 120 { lines.append("#") }
        lines[lines.count - 1] += " " + word
    }
    return lines.joined(separator: "\n") + "\n"
}
