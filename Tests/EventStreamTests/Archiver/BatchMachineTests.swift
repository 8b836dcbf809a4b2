import Testing

@testable import EventStreamArchiver

@Suite struct BatchMachineTests {
    @Test func aBatchThatIsArchivedIsConfirmed() {
        var machine = BatchMachine()
        #expect(machine.first == .findSession)
        #expect(machine.found(session: 3) == .archive(session: 3))
        #expect(machine.archived(2) == .confirm(2))
        #expect(machine.state == .over)
    }

    @Test func aBatchWithoutASessionIsRejected() {
        var machine = BatchMachine()
        #expect(machine.found(session: nil) == .reject("the session has ended"))
    }

    @Test func aFailureIsRetriedAsLongAsTheGenerationLasts() {
        var machine = BatchMachine()
        for session in 1...3 {
            #expect(machine.found(session: session) == .archive(session: session))
            #expect(machine.failed(.other) == .pause)
            #expect(machine.paused(isStopping: false) == .compareGeneration)
            #expect(machine.compared(isPresent: true) == .findSession)
        }
        _ = machine.found(session: 4)
        _ = machine.failed(.other)
        _ = machine.paused(isStopping: false)
        #expect(machine.compared(isPresent: false) == .reject("the generation is over"))
    }

    @Test func aGenerationThatIsOverSendsToTheNextPusher() {
        var machine = BatchMachine()
        _ = machine.found(session: 1)
        #expect(machine.failed(.pastGeneration("over")) == .moveOn("over"))
        #expect(machine.left() == .pause)
        #expect(machine.paused(isStopping: false) == .next)
    }

    @Test(arguments: [BatchMachine.Failure.other, .pastGeneration("over")])
    func whoIsToldToStopInAPauseStops(_ failure: BatchMachine.Failure) {
        var machine = BatchMachine()
        _ = machine.found(session: 1)
        _ = machine.failed(failure)
        #expect(machine.paused(isStopping: true) == .stop)
    }

    @Test func whoIsToldToStopWhileArchivingStops() {
        var machine = BatchMachine()
        _ = machine.found(session: 1)
        #expect(machine.failed(.stopped) == .stop)
    }
}
