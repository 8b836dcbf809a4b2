import ArgumentParser
import CommandLineSupport
import FoundationEssentials

/// Prints the reference pages, which are kept in etc/ and compared with what is printed by a test.
struct Docs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints a page of the reference.",
        discussion: "The pages are made of what the programs themselves use. Without a page, --write writes all pages.")

    enum Page: String, CaseIterable, ExpressibleByArgument {
        case settings, metrics, roles, alerts, errors, env

        var text: String {
            switch self {
            case .settings: settingsPage
            case .metrics: metricsPage
            case .roles: rolesPage
            case .alerts: alertsPage
            case .errors: errorsPage
            case .env: environmentExample
            }
        }

        var file: String { self == .env ? "evt.env.example" : "docs/\(rawValue).md" }
    }

    @Argument(help: "The page.") var page: Page?
    @Option(help: "Write the page, or all pages, below this directory: etc in the source tree.") var write: String?

    func run() throws {
        guard let write else {
            guard let page else { throw ValidationError("name a page: \(Page.allCases.map(\.rawValue).joined(separator: ", "))") }
            return print(page.text, terminator: "")
        }
        for page in page.map({ [$0] }) ?? Page.allCases {
            try Data(page.text.utf8).write(to: URL(filePath: write).appending(path: page.file))
        }
    }
}

/// A table in Markdown.
func table(_ head: [String], _ rows: [[String]]) -> String {
    ([head, head.map { _ in "---" }] + rows).map { cells in
        "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |\n"
    }.joined()
}

func code(_ text: String) -> String { text.isEmpty ? "" : "`\(text)`" }
