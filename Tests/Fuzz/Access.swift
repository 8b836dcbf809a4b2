@testable import EventStream

/// A certificate, as a process reads its own and those of others.
func checkCertificate(_ bytes: [UInt8]) {
    if let key = CurveKey(z85: bytes) {
        require(key.z85.utf8.elementsEqual(bytes), "a key is written as it was read")
    }
    if let key = CurveKey(bytes: bytes) {
        require(CurveKey(key.z85) == key, "any 32 bytes are a key that can be written and read")
    }
    do {
        let certificate = try CurveCertificate(decoding: bytes)
        let key = certificate.publicKey
        let both = certificate.encoded(withSecret: true, comment: "both")
        require((try? CurveCertificate(decoding: Array(both.utf8))) == certificate, "a certificate comes back as it was")
        let open = certificate.encoded(withSecret: false, comment: "open")
        require(
            (try? CurveCertificate(decoding: Array(open.utf8))) == CurveCertificate(publicKey: key), "so does its public part")
        if let secret = certificate.secretKey, secret != key {
            let shown = "\(open) \(certificate) \(String(reflecting: certificate))"
            require(!shown.contains(secret.z85), "a secret is not shown")
        }
    } catch {
        require(error.message.utf8.count < 100, "of a certificate that is none nothing is shown")
    }
}

/// Who may connect.
func checkAuthorizedKeys(_ bytes: [UInt8]) {
    do {
        let keys = try AuthorizedKeys(decoding: bytes)
        for (key, user) in keys.users {
            require(keys[key] == user, "a user is found by its key")
            let widest = ConsumerIdentity("\(user.name):ABCDEFGHIJKLMNOP")
            require(widest?.user == user.name, "a user's components have names that fit")
            require(user.rights.components?.contains(.live) != true, "LIVE is a right and no component")
        }
        let text = keys.users.map { key, user in
            let rights = user.rights
            return
                ([user.name, key.z85] + rights.rights.map(\.rawValue)
                + [rights.components.map { "components=" + $0.map(\.name).joined(separator: ",") } ?? ""]
                + [rights.types.entries.map { "types=" + $0.joined(separator: ",") } ?? ""]).joined(
                    separator: " ")
        }
        require(
            (try? AuthorizedKeys(decoding: Array(text.joined(separator: "\n").utf8))) == keys, "users come back as they were")
    } catch {
        require(error.message.utf8.count < 21 * 200, "of bad lines little is shown")
    }
}
