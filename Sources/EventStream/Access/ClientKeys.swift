/// What a client proves to be, and whom it talks to (CURVE, protocol section 7).
public struct ClientKeys: Hashable, Sendable {
    /// The client's own, with its secret key.
    public let certificate: CurveCertificate
    /// The server's; one that has not the secret key to it gets nothing.
    public let serverKey: CurveKey

    /// - Throws: `AccessFileError` if the certificate is a public one: without the secret key there is nothing to prove.
    public init(certificate: CurveCertificate, serverKey: CurveKey) throws(AccessFileError) {
        guard certificate.secretKey != nil else { throw AccessFileError("the certificate has no secret-key") }
        self.certificate = certificate
        self.serverKey = serverKey
    }
}
