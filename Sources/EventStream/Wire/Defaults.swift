/// The lease of a session: how long receivers and pushers wait for each other unless set (protocol, section 5; `EVT_SESSION_TIMEOUT`).
package let standardSessionTimeout = Duration.seconds(15)

/// Where servers listen, and clients look for the servers, unless set.
package enum StandardEndpoint {
    package static let generator = "tcp://127.0.0.1:5570"
    package static let pusher = "tcp://127.0.0.1:5571"
    package static let live = "tcp://127.0.0.1:5572"
}
