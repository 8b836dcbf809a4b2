import EventStream
import LibPQ

/// SQL files with placeholders: `{{key}}` stands for a quoted name, `{{'key}}` for the same name as a string literal.
///
/// Besides names there are numbers (`{{segment_bits}}`, `{{lock latch}}`) and other files (`{{functions/wake.sql}}`). Comments have no
/// placeholders: a name may have a line break.
struct SQLTemplate {
    /// What the keys stand for, ready for SQL.
    private var values: [String: String]

    /// - Parameter functions: files that steps may include, by the name of the function.
    init(names: [String: TableName], numbers: [String: Int64] = [:], functions: [String: [UInt8]]) {
        values = numbers.mapValues(String.init)
        for lock in AdvisoryLock.allCases { values["lock \(lock)"] = String(lock.number) }
        for (key, name) in names {
            values[key] = name.sql
            values["'" + key] = quotedLiteral(name.sql)
        }
        let files = functions.mapValues { sql($0) }
        for (name, text) in files { values["functions/\(name).sql"] = text }
    }

    /// The SQL of a file. What a placeholder stands for is not looked through for others.
    func sql(_ file: [UInt8]) -> String {
        var result = ""
        var rest = String(decoding: file, as: UTF8.self)[...]
        while let open = rest.firstRange(of: "{{") {
            guard let close = rest[open.upperBound...].firstRange(of: "}}"),
                let value = values[String(rest[open.upperBound..<close.lowerBound])]
            else { preconditionFailure("not a placeholder: \(rest[open.lowerBound...].prefix(30))") }
            result += rest[..<open.lowerBound] + value
            rest = rest[close.upperBound...]
        }
        return result + rest
    }
}
