import EventStream
import Testing

/// The whole way of an event, while everything that can go wrong does.
@Suite struct DeliverySimulationTests {
    private func violation(seed: UInt64, fault: PlantedFault? = nil) -> String? {
        DeliveryWorld(seed: seed, fault: fault).run()
    }

    @Test func everyConsumerProcessesEveryCommittedEventInOrderWhateverFails() async {
        // About half a minute of a debug build.
        await Simulation.check(stepsEach: DeliveryWorld.steps, steps: 6_000_000) { seed in
            guard let broken = violation(seed: seed) else { return nil }
            let world = DeliveryWorld(seed: seed, isTracing: true)
            let again = world.run() ?? "nothing: the run does not repeat itself"
            let trace = (world.surroundings.trace ?? []).suffix(Simulation.traceLines).joined(separator: "\n")
            return "\(trace)\n\(broken)\(again == broken ? "" : "; run again, \(again)")"
        }
    }

    @Test(arguments: PlantedFault.allCases)
    func aMistakeInTheDriverIsNoticed(_ fault: PlantedFault) async {
        // From here on each is found soon.
        for seed in 110..<510 as Range<UInt64> {
            await Task.yield()
            if violation(seed: seed, fault: fault) != nil { return }
        }
        Issue.record("no world shows it")
    }

    @Test func aWorldRepeatsItself() {
        for seed in 0..<3 as Range<UInt64> {
            let traces = (0..<2).map { _ in
                let world = DeliveryWorld(seed: seed, isTracing: true)
                _ = world.run()
                return world.surroundings.trace
            }
            #expect(traces[0] == traces[1])
        }
    }
}
