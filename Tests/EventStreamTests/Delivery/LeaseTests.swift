import EventStream
import EventStreamPusher
import Testing

@Suite struct LeaseTests {
    @Test func aLeaseEndsAfterItsTimeoutUnlessThePeerIsHeard() {
        var lease = Lease(timeout: .seconds(15), at: start)
        #expect(!lease.hasEnded(at: start + .seconds(14)))
        #expect(lease.hasEnded(at: start + .seconds(15)))
        lease.heard(at: start + .seconds(10))
        #expect(!lease.hasEnded(at: start + .seconds(24)))
        #expect(lease.deadline == start + .seconds(25))
    }

    @Test func aLivingPeerKeepsOthersOut() {
        let lease = Lease(timeout: .seconds(15), at: start)
        #expect(lease.keepsOthersOut(at: start + .seconds(14)))
        #expect(!lease.keepsOthersOut(at: start + .seconds(15)))
    }

    @Test func aClosedConnectionKeepsNobodyOutButTheSessionWaits() {
        var lease = Lease(timeout: .seconds(15), at: start)
        lease.disconnected()
        #expect(!lease.keepsOthersOut(at: start))
        #expect(!lease.hasEnded(at: start + .seconds(14)))
        lease.heard(at: start + .seconds(1))
        #expect(lease.keepsOthersOut(at: start + .seconds(1)))
    }
}
