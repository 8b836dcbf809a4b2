import EventStreamServer
import Testing

@testable import EventStreamRelay

@Suite struct RelayTargetTests {
    @Test(arguments: [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
        "192.0.0.8", "192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fd12::1", "fe80::1",
        "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::",
    ])
    func `an address that is none of the public internet is private`(_ text: String) throws {
        #expect(try #require(NetworkAddress(text)).isPrivate)
        let host = text.contains(":") ? "[\(text)]" : text
        let error = #expect(throws: ConfigurationError.self) {
            try RelayTarget("https://\(host)/x", insecure: false, allowPrivate: false)
        }
        #expect(error?.message.contains("EVT_RELAY_ALLOW_PRIVATE=true") == true)
        #expect(try RelayTarget("https://\(host)/x", insecure: false, allowPrivate: true).host == text)
    }

    @Test(arguments: [
        "1.1.1.1", "9.255.255.255", "100.63.0.1", "100.128.0.1", "126.0.0.1", "169.253.0.1", "172.15.0.1", "172.32.0.1",
        "192.0.1.1",
        "192.167.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::",
    ])
    func `others are not`(_ text: String) throws { #expect(try !#require(NetworkAddress(text)).isPrivate) }

    @Test(arguments: [
        "", ".", "example.com", "ftp://example.com", "https://", "https:///x", "https://example.com/#a", "https://exa mple.com",
        "https://ex%61mple.com/", "https://[fe80::1%25eth0]/", "tcp://127.0.0.1:5571",
    ])
    func `what is no URL is refused`(_ text: String) {
        let error = #expect(throws: ConfigurationError.self) { try RelayTarget(text, insecure: true, allowPrivate: true) }
        #expect(error?.message.hasPrefix("EVT_RELAY_TO is no URL of HTTP") == true)
    }

    @Test func `without encryption only loopback addresses are reached, unless the network is trusted`() throws {
        for host in ["127.0.0.1", "127.8.8.8:8080", "[::1]:80", "localhost:8080"] {
            #expect(throws: Never.self) { try RelayTarget("http://\(host)/", insecure: false, allowPrivate: true) }
        }
        for host in ["example.com", "10.0.0.1", "1.1.1.1"] {
            let error = #expect(throws: ConfigurationError.self) {
                try RelayTarget("http://\(host)/", insecure: false, allowPrivate: true)
            }
            #expect(error?.message.contains("EVT_INSECURE=true") == true)
            #expect(throws: Never.self) { try RelayTarget("http://\(host)/", insecure: true, allowPrivate: true) }
        }
    }

    @Test func `nothing that may be secret is shown`() throws {
        let error = #expect(throws: ConfigurationError.self) {
            try RelayTarget("https://user:HIDDEN@example.com/", insecure: false, allowPrivate: false)
        }
        #expect(error?.message.contains("HIDDEN") == false)
        let target = try RelayTarget("https://Example.com:8443/SECRET?SECRET", insecure: false, allowPrivate: false)
        #expect("\(target)".lowercased() == "https://example.com:8443")
    }
}
