import Glibc

/// An IP address that a name stands for.
struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
    /// As it is written, without brackets.
    let description: String
    /// 4 bytes or 16.
    private let bytes: [UInt8]

    /// Nil for what is no IP address.
    init?(_ text: String) {
        var (four, six) = (in_addr(), in6_addr())
        if inet_pton(AF_INET, text, &four) == 1 {
            bytes = withUnsafeBytes(of: &four) { Array($0) }
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            bytes = withUnsafeBytes(of: &six) { Array($0) }
        } else {
            return nil
        }
        description = text
    }

    /// Whether nobody but this machine can be meant.
    var isLoopback: Bool { mapped.count == 4 ? mapped[0] == 127 : mapped == [UInt8](repeating: 0, count: 15) + [1] }

    /// Whether the address is none of the public internet: private, loopback, link-local, multicast or reserved (RFC 6890).
    var isPrivate: Bool {
        let bytes = mapped
        guard bytes.count == 4 else {
            return bytes.prefix(15).allSatisfy { $0 == 0 } || bytes[0] & 0xFE == 0xFC || bytes[0] == 0xFE && bytes[1] >= 0x80
                || bytes[0] == 0xFF
        }
        switch (bytes[0], bytes[1]) {
        case (0, _), (10, _), (127, _), (169, 254), (172, 16...31), (192, 168), (100, 64...127), (198, 18...19), (224..., _):
            return true
        case (192, 0): return bytes[2] == 0
        default: return false
        }
    }

    /// The IPv4 address that is meant by an IPv6 address: mapped (::ffff:0:0/96), by NAT64 (64:ff9b::/96), by 6to4 (2002::/16).
    private var mapped: [UInt8] {
        guard bytes.count == 16 else { return bytes }
        let zeros = [UInt8](repeating: 0, count: 10)
        if bytes.starts(with: zeros + [0xFF, 0xFF]) || bytes.starts(with: [0, 0x64, 0xFF, 0x9B] + zeros.prefix(8)) {
            return Array(bytes.suffix(4))
        }
        return bytes.starts(with: [0x20, 0x02]) ? Array(bytes[2..<6]) : bytes
    }

    /// The addresses of a name, in the order in which they are to be tried. Blocks.
    ///
    /// - Throws: what the resolver says.
    static func resolve(_ name: String) throws(RelayFailure) -> [NetworkAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &list)
        guard code == 0 else { throw RelayFailure("the host \(name) is not found: \(String(cString: gai_strerror(code)))") }
        defer { freeaddrinfo(list) }
        var found: [NetworkAddress] = []
        var entry = list
        while let each = entry?.pointee {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            if getnameinfo(each.ai_addr, each.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0,
                let address = NetworkAddress(text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }),
                !found.contains(address)
            {
                found.append(address)
            }
            entry = each.ai_next
        }
        return found
    }
}

/// Why nothing could be handed over.
struct RelayFailure: Error, Hashable, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
