/// Who may connect, by public key: the authorized-keys file.
///
/// One line a key: `name  <public key in Z85>  rights…`, with `#` before comments. The rights are any of
/// ``UserRights/Right``, and may be narrowed by `components=A,B` and `types=X,Y`. A user may have several keys, each on a
/// line of its own with rights of its own.
package struct AuthorizedKeys: Hashable, Sendable {
    package struct User: Hashable, Sendable {
        package let name: String
        package let rights: UserRights

        package init(name: String, rights: UserRights) {
            self.name = name
            self.rights = rights
        }
    }

    package let users: [CurveKey: User]

    package init(_ users: [CurveKey: User]) { self.users = users }

    package subscript(_ key: CurveKey) -> User? { users[key] }

    /// The event types that somebody may see while he may not see all.
    package var narrowedTypes: Set<EventType> { users.values.reduce(into: []) { $0.formUnion($1.rights.types.types ?? []) } }

    /// Bytes a file may have.
    package static let sizeLimit = 4 << 20

    /// Reads a file's contents, all of it or nothing.
    ///
    /// - Throws: ``AccessFileError`` naming every line at fault, the first twenty of them.
    package init(decoding bytes: [UInt8]) throws(AccessFileError) {
        guard bytes.count <= AuthorizedKeys.sizeLimit else { throw AccessFileError("it is larger than 4 MiB") }
        var users: [CurveKey: User] = [:]
        var errors: [String] = []
        for (number, line) in lines(of: bytes) where line.first != UInt8(ascii: "#") {
            do throws(AccessFileError) {
                let (key, user) = try AuthorizedKeys.entry(line)
                guard users.updateValue(user, forKey: key) == nil else {
                    throw AccessFileError("the key of \(user.name) has a line already")
                }
            } catch {
                errors.append("line \(number): \(error.message)")
            }
        }
        guard errors.isEmpty else {
            let rest = errors.count > 20 ? ["and \(errors.count - 20) more"] : []
            throw AccessFileError((errors.prefix(20) + rest).joined(separator: "; "))
        }
        self.users = users
    }

    private static func entry(_ line: ArraySlice<UInt8>) throws(AccessFileError) -> (CurveKey, User) {
        let words = line.split(whereSeparator: isBlank)
        guard let name = words.first.map({ String(decoding: $0, as: UTF8.self) }), isUserName(name) else {
            throw AccessFileError("a user's name is 1 to 47 of A-Z, a-z, 0-9, '_', '-' and '.'")
        }
        guard words.count >= 2, let key = CurveKey(z85: words[1]) else {
            throw AccessFileError("after the name \(name) there must be a public key, 40 characters of Z85")
        }
        var rights = UserRights([])
        var narrowed: Set<String> = []
        for word in words.dropFirst(2) {
            // Of a comment the rest of the line is one, too.
            if word.first == UInt8(ascii: "#") { break }
            let text = String(decoding: word, as: UTF8.self)
            // Strings of combining marks take the square of their length to compare.
            guard word.allSatisfy({ $0 < 0x80 }) else { throw noRight(text) }
            if let right = UserRights.Right(rawValue: text) {
                rights.rights.insert(right)
                continue
            }
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map { String($0) }
            guard parts.count == 2, ["components", "types"].contains(parts[0]) else {
                throw noRight(text)
            }
            guard narrowed.insert(parts[0]).inserted else { throw AccessFileError("\(parts[0]) is there twice") }
            let names = parts[1].split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
            if parts[0] == "components" {
                let components = names.compactMap { ConsumerComponent($0) }
                guard components.count == names.count, !components.contains(.live) else {
                    throw AccessFileError(
                        "components= takes names of 1 to 16 of A-Z, a-z, 0-9 and _, not LIVE: that is the right live")
                }
                rights.components = Set(components)
            } else {
                guard let filter = EventFilter(entries: names) else {
                    throw AccessFileError("types= takes event types and prefixes, separated by commas: \(EventFilter.rule)")
                }
                rights.types = filter
            }
        }
        return (key, User(name: name, rights: rights))
    }

    /// A consumer's `user:component` has to fit into 64 bytes.
    private static func isUserName(_ name: String) -> Bool {
        (1...47).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                $0.isASCIILetterOrDigit || [UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: ".")].contains($0)
            }
    }

    private static func noRight(_ text: String) -> AccessFileError {
        AccessFileError("\(shown(text)) is no right; there are \(UserRights.Right.list), components=A,B and types=X,Y")
    }

    /// What is shown of a word that is wrong: it may be a key in the wrong place, even a secret one.
    private static func shown(_ text: String) -> String {
        text.utf8.count <= 20 ? "\"\(text.filter { $0.isASCII && !$0.isNewline })\"" : "a word of \(text.utf8.count) bytes"
    }
}
