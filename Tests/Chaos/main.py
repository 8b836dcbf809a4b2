"""A chaos run: the whole pipeline, hit by everything at once, and every promise checked in the end.

Run it with etc/chaos, which builds the programs and sets the environment up.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import figures
import schedule
from deployment import Deployment
from faults import Faults
from Harness.invariants import Invariants, load_truth
from Harness.receivers import Liar, LiveReceiver, Poller, ReliableReceiver, Subscriber, Tail
from Harness.record import LiveRecord, Record
from Harness.scenario import Command, Scenario
from operating import NAME, OTHER, OperatedInvariants, OperatedReceiver, OperatedRecord, Operator, summary
from workload import Bystander, Caller, Snapshot, Writer

WRITERS = 4

class Run(Scenario):
    """Faults, on a pipeline with receivers of every kind."""

    scene: Deployment

    def __init__(self, seed: int, seconds: float, faults: list[schedule.Fault], deployment: Deployment, pace: float):
        super().__init__(deployment)
        self.seed, self.seconds, self.schedule = seed, seconds, faults
        self.begin = time.time()
        findings = self.findings

        def random_of(name: str) -> random.Random:
            return random.Random(f"{seed}/{name}")

        liar_wants = {"ALPHA", "DELTA_"}
        self.reliable_record, self.tail_record, self.poller_record = (
            Record(name, findings) for name in ("RELIABLE", "TAIL", "POLLER"))
        self.liar_record = Record("LIAR", findings, liar_wants)
        live, subscriber = LiveRecord("live", findings), LiveRecord("subscriber", findings)
        self.reliable = [self.reliable_record, self.tail_record, self.poller_record, self.liar_record]
        self.operated_record = OperatedRecord(NAME, findings)
        self.records = [*self.reliable, live, subscriber, self.operated_record]
        ports = deployment.pusher_links
        receiver = ReliableReceiver(self.reliable_record, ports("reliable"), findings)
        self.liar = Liar(self.liar_record, ports("liar")[::-1], findings, random_of("liar"), receiver)
        broadcasts = [deployment.link("subscriber", f"pusher_{each}", f"live_{each}") for each in "ab"]
        self.receivers = [
            receiver, self.liar, Poller(self.poller_record, ports("poller"), findings),
            LiveReceiver(live, ports("live"), findings), Subscriber(subscriber, broadcasts, findings)]
        self.operated = OperatedReceiver(self.operated_record, ports("operated"), findings, random_of("operated"))
        self.receivers.append(self.operated)
        self.operator = Operator(deployment, random_of("operator"), pace)
        self.tail = Tail(self.tail_record)
        self.writers = [
            Writer(f"writer_{number}", deployment.active_url, random_of(f"writer{number}"), findings, 0.05)
            for number in range(WRITERS)]
        self.bystanders = [
            Bystander(f"bystander_{number}", deployment.active_url, random_of(f"bystander{number}"), findings)
            for number in range(3)]
        self.bystanders.append(Snapshot("snapshot", deployment.active_url, findings))
        self.callers = [
            Caller(f"caller_{number}", [deployment.link(f"caller_{number}", f"generator_{each}") for each in order],
                   random_of(f"caller{number}"), findings, 0.05)
            for number, order in ((1, "ab"), (2, "ba"))]

    def start(self) -> None:
        self.scene.start(self.tail.read)
        for thread in (*self.receivers, *self.writers, *self.bystanders, *self.callers):
            thread.start()
        self.eventually("a first event everywhere", lambda: all(record.first for record in self.records))

    def hit(self) -> None:
        """Lets the faults happen."""
        self.begin = time.time()
        self.findings.begin()
        self.faults = Faults(self.scene)
        self.faults.start(self.schedule)
        self.operator.start()
        time.sleep(self.seconds)
        self.faults.join()

    def calm(self) -> None:
        self.findings.say("the faults are over")
        self.operator.stop()
        self.operated.is_steady = True
        for thread in (*self.writers, *self.bystanders, *self.callers):
            thread.stop()
        self.liar.is_honest = True

    def check(self) -> None:
        for thread in self.receivers:
            thread.stop()
        self.findings.say("receivers stopped")
        self.scene.supervisor.stop()
        self.faults.close()
        self.findings.say("processes stopped")
        self.truth = load_truth(self.scene)
        invariants = Invariants(self.scene, self.truth, self.findings)
        for record in self.records:
            invariants.only_committed(record)
        for record in self.reliable:
            invariants.delivered(record)
        self.operated_invariants = OperatedInvariants(self.scene, self.truth, self.operated_record, self.findings)
        self.operated_invariants.check()
        invariants.positions([record for record in self.reliable if record is not self.tail_record], but=(NAME, OTHER))
        invariants.discards()
        invariants.calls(self.callers)
        invariants.writers(self.writers)
        invariants.archive()
        invariants.generations(sum(over.fault.kind in ("failover", schedule.LOST_HOST) for over in self.faults.ended))
        self.findings.say("checked")

    def report(self) -> None:
        transactions = sum((writer.counts for writer in self.writers), Counter())
        discards = self.scene.query(
            "SELECT count(*) FILTER (WHERE NOT emptied), count(*) FILTER (WHERE emptied) FROM discards")
        answered, refused, unknown = (
            sum(len(getattr(caller, name)) for caller in self.callers) for name in ("answered", "refused", "unknown"))
        print(f"""
{len(self.truth)} events; transactions: {", ".join(f"{count} {name}" for name, count in transactions.most_common())}
calls of the generators: {answered} answered, {refused} refused, {unknown} unknown
discarded: {discards[0][0]} events one by one, {discards[0][1]} segments
memory: {", ".join(f"{child.name} {child.most_memory:.0f} MB" for child in self.scene.supervisor.children.values())}
{figures.receivers(self.records, self.reliable, self.truth, self.begin)}
{summary(self.operator, self.operated_invariants)}
{figures.faults(self.faults.ended, self.reliable_record, self.truth)}""")


def main() -> int:
    command = Command("chaos", "Hits the whole pipeline with faults of every kind, and checks every promise.", 60, schedule.KINDS,
                      "faults")
    command.parser.add_argument("--operator", action="store_true",
                                help="no faults, but an operator who hardly rests, and a receiver that comes and goes")
    arguments = command.parse()
    seed, seconds = arguments.seed, arguments.seconds
    faults = [fault for fault in schedule.draw(seed, seconds)
              if (not arguments.kinds or fault.kind in arguments.kinds) and not arguments.operator]
    if arguments.show:
        for fault in faults:
            print(f"{fault.at:7.2f} {fault}")
        return 0
    return command.run(
        arguments, " --operator" if arguments.operator else "",
        lambda directory, findings: Deployment(directory, arguments.postgres, arguments.programs, findings),
        lambda deployment: Run(seed, seconds, faults, deployment, 0.3 if arguments.operator else 3))


if __name__ == "__main__":
    sys.exit(main())
