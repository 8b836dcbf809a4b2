/// The alerts of etc/prometheus/alerts.yml.
let alertsPage =
    """
    # Alerts

    One fault raises one alert. The rules are in [etc/prometheus/alerts.yml](../prometheus/alerts.yml); the comments there say what to
    adapt where archivers have other names or consumers poll rarely.

    """
    + "\n"
    + table(
        ["alert", "severity", "fires when"],
        alerts.map {
            ["[`\($0.name)`](#\($0.name.lowercased()))", $0.severity, "\($0.summary.withoutTemplates), for \($0.pending)"]
        })
    + alerts.map { "\n## \($0.name)\n\n\($0.description.withoutTemplates)\n\n```promql\n\($0.expression)\n```\n" }.joined()

private let alerts = String(decoding: PackageResources.alerts_yml, as: UTF8.self).matches(
    of:
        /- alert: (\w+)\n +expr: (?:\|\n)?([\s\S]+?)\n +for: (\w+)\n +labels: {severity: (\w+)}\n +annotations:\n +summary: "(.+)"\n +description: >-\n((?: {12}.+\n?)+)/
).map { match in
    let (_, name, expression, pending, severity, summary, description) = match.output
    let lines = expression.split(separator: "\n").map { $0.hasPrefix(" ") ? $0.dropFirst(10) : $0 }
    return (
        name: "\(name)", expression: lines.joined(separator: "\n"), pending: pending, severity: "\(severity)",
        summary: "\(summary)",
        description: description.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    )
}

extension String {
    /// `{{ $labels.job }}` as JOB: what Prometheus puts there.
    fileprivate var withoutTemplates: String {
        replacing(/\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}/) { $0.output.1.uppercased() }
    }
}
