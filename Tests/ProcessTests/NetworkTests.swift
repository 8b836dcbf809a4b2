import Foundation
import TestSupport
import Testing

extension FaultTests {
    /// A receiver's way to its pusher fails; what else may happen to a network is in `etc/chaos`.
    @Suite struct NetworkTests {
        @Test(arguments: [Proxy.Mode.silent, .stuck]) func aReceiverThatIsGoneLosesItsConsumerToTheNext(mode: Proxy.Mode)
            async throws
        {
            try await Deployment.with { deployment in
                let port = PrivateCluster.freePort()
                let pusher = try deployment.start(
                    "evt-pusher", [], ["EVT_PUSHER_BIND": "tcp://127.0.0.1:\(port)", "EVT_SESSION_TIMEOUT": "2s"])
                let proxy = try Proxy(to: port)
                let first = PersistentReceiver("FOLLOWER", at: ["tcp://127.0.0.1:\(proxy.port)"])
                let next = PersistentReceiver("FOLLOWER", at: ["tcp://127.0.0.1:\(port)"])
                try await first.start()
                let load = WriterLoad(writers: 2, seed: 5, largest: 5, idle: 50)
                try await load.run(on: deployment.active) {
                    try await deployment.goesOn(first, "at first")
                    proxy.set(mode)
                    try await next.start()
                    try await deployment.goesOn(next, "in place of the one that is gone")
                    await next.stop()
                    proxy.set(.passing)
                    try await deployment.goesOn(first, "when it is back")
                }
                let newest = try await deployment.newest()
                try await eventually("the last event") { await first.log.newest == newest }
                let received = await Set(first.log.firstOccurrences).union(next.log.firstOccurrences)
                let committed = try await TestDatabase.rows("SELECT id FROM evt_queue", on: deployment.active).map {
                    Int($0[0]!)!
                }
                #expect(Set(committed).subtracting(received) == [])
                #expect(await first.log.wentBack + next.log.wentBack == [])
                await first.stop()
                #expect(try await pusher.terminate().status == 0)
            }
        }
    }
}
