import Foundation
import TestSupport
import Testing

/// The reference pages are what `evt docs` prints of the declarations.
@Suite struct DocsTests {
    private static let etc = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../etc")

    @Test func thePagesAreWhatIsPrinted() async throws {
        try await ScratchDirectory.with { directory in
            let printed = URL(filePath: directory)
            try FileManager.default.createDirectory(at: printed.appending(path: "docs"), withIntermediateDirectories: true)
            let end = try await ChildProcess.run("\(ChildProcess.binaries)/evt", ["docs", "--write", directory])
            #expect(end.status == 0, "\(end.text)")
            let files = try FileManager.default.subpathsOfDirectory(atPath: directory).filter { $0.contains(".") }
            #expect(files.count == 6)
            for file in files {
                let page = try? Data(contentsOf: Self.etc.appending(path: file))
                let isSame = try page == Data(contentsOf: printed.appending(path: file))
                #expect(isSame, "etc/\(file) is not what the programs say: run `evt docs --write etc`")
            }
        }
    }
}
