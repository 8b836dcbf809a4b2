"""A chaos run: the whole pipeline, hit by everything at once, and every promise checked in the end.

Run it with etc/chaos, which builds the programs and sets the environment up.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import figures
import schedule
from deployment import Deployment
from faults import Faults
from Harness.findings import Findings
from Harness.invariants import Invariants, load_truth
from operating import NAME, OTHER, OperatedInvariants, OperatedReceiver, OperatedRecord, Operator, summary
from Harness.receivers import Liar, LiveReceiver, Poller, ReliableReceiver, Subscriber, Tail
from Harness.record import LiveRecord, Record
from Harness.events import LAST_TYPE
from workload import Bystander, Caller, Snapshot, Writer

WRITERS = 4
DRAIN_SECONDS = 300
"""When nothing goes wrong any more, all must be delivered, archived and discarded within this time."""


class Run:
    """One run, from the empty databases to the figures."""

    def __init__(self, seed: int, seconds: float, faults: list[schedule.Fault], deployment: Deployment, findings: Findings,
                 pace: float):
        self.seed, self.seconds, self.schedule = seed, seconds, faults
        self.deployment, self.findings = deployment, findings
        self.begin = time.time()

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
            Bystander(f"bystander_{number}", deployment.active_url, random_of(f"bystander{number}")) for number in range(3)]
        self.bystanders.append(Snapshot(deployment.active_url))
        self.callers = [
            Caller(f"caller_{number}", [deployment.link(f"caller_{number}", f"generator_{each}") for each in order],
                   random_of(f"caller{number}"), findings, 0.05)
            for number, order in ((1, "ab"), (2, "ba"))]

    def start(self) -> None:
        self.deployment.start(self.tail.read)
        for thread in (*self.receivers, *self.writers, *self.bystanders, *self.callers):
            thread.start()
        self._eventually("a first event everywhere", lambda: all(record.first for record in self.records))

    def hit(self) -> None:
        """Lets the faults happen."""
        self.begin = time.time()
        self.findings.begin()
        self.faults = Faults(self.deployment)
        self.faults.start(self.schedule)
        self.operator.start()
        time.sleep(self.seconds)
        self.faults.join()

    def drain(self) -> None:
        """Nothing goes wrong any more: all that was recorded arrives everywhere, and is discarded."""
        self.findings.say("the faults are over")
        self.operator.stop()
        self.operated.is_steady = True
        for thread in (*self.writers, *self.bystanders, *self.callers):
            thread.stop()
        self.liar.is_honest = True
        with self.deployment.active.primary.connect("evt") as connection:
            last = connection.execute(f"""SELECT evt_add('{LAST_TYPE}', '{{"k":"last"}}')""").fetchone()[0]
        begin = time.monotonic()
        self._eventually("everything confirmed, archived and discarded", lambda: not self._left(last), lambda: self._left(last))
        self.findings.say(f"all was delivered, archived and discarded {time.monotonic() - begin:.1f} s later")

    def _left(self, last: int) -> list[str]:
        """What is still to be done."""
        left = [f"{ident} is at {position} of {last}" for ident, position in self.deployment.query(
            "SELECT ident, last_evt_id FROM evt_consumers ORDER BY ident") if position < last]
        archived = self.deployment.query_warehouse("SELECT max(last_evt_id) FROM evt_history_positions")[0][0]
        if archived is None or archived < last:
            left.append(f"the archive is at {archived}")
        if count := self.deployment.query("SELECT count(*) FROM evt_queue")[0][0]:
            left.append(f"{count} events are not discarded")
        return left

    def _eventually(self, what: str, condition, explain=lambda: "") -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        report = time.monotonic() + 5
        while not condition():
            if time.monotonic() > deadline:
                return self.findings.violation("stuck", f"not within {DRAIN_SECONDS} s: {what}; {explain()}")
            if time.monotonic() > report:
                self.findings.say(f"not yet: {what}; {explain()}")
                report += 5
            time.sleep(0.1)

    def check(self) -> None:
        for thread in self.receivers:
            thread.stop()
        self.findings.say("receivers stopped")
        self.deployment.supervisor.stop()
        self.faults.close()
        self.findings.say("processes stopped")
        self.truth = load_truth(self.deployment)
        invariants = Invariants(self.deployment, self.truth, self.findings)
        for record in self.records:
            invariants.only_committed(record)
        for record in self.reliable:
            invariants.delivered(record)
        self.operated_invariants = OperatedInvariants(self.deployment, self.truth, self.operated_record, self.findings)
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
        discards = self.deployment.query(
            "SELECT count(*) FILTER (WHERE NOT emptied), count(*) FILTER (WHERE emptied) FROM discards")
        answered, refused, unknown = (
            sum(len(getattr(caller, name)) for caller in self.callers) for name in ("answered", "refused", "unknown"))
        print(f"""
{len(self.truth)} events; transactions: {", ".join(f"{count} {name}" for name, count in transactions.most_common())}
calls of the generators: {answered} answered, {refused} refused, {unknown} unknown
discarded: {discards[0][0]} events one by one, {discards[0][1]} segments
memory: {", ".join(f"{child.name} {child.memory} MB" for child in self.deployment.supervisor.children.values())}
{figures.receivers(self.records, self.reliable, self.truth, self.begin)}
{summary(self.operator, self.operated_invariants)}
{figures.faults(self.faults.ended, self.reliable_record, self.truth)}""")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="etc/chaos", description="Hits the whole pipeline with faults of every kind, and checks every promise.")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults happen (60)")
    parser.add_argument("--seed", type=int, help="of the schedule and the load; drawn if not given")
    parser.add_argument("--only", default="", help=f"these faults only, separated by commas: {', '.join(schedule.KINDS)}")
    parser.add_argument("--operator", action="store_true",
                        help="no faults, but an operator who hardly rests, and a receiver that comes and goes")
    parser.add_argument("--show", action="store_true", help="print the schedule and end")
    parser.add_argument("--keep", action="store_true", help="keep databases and logs also when all is well")
    parser.add_argument("--programs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--postgres", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    only = [kind for kind in arguments.only.split(",") if kind]
    if unknown := set(only) - set(schedule.KINDS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    faults = [fault for fault in schedule.draw(seed, arguments.seconds)
              if (not only or fault.kind in only) and not arguments.operator]
    if arguments.show:
        for fault in faults:
            print(f"{fault.at:7.2f} {fault}")
        return 0
    again = f"etc/chaos --seconds {arguments.seconds:g} --seed {seed}" + (
        f" --only {arguments.only}" if only else "") + (" --operator" if arguments.operator else "")
    directory = Path(tempfile.mkdtemp(prefix="evt-chaos-", dir="/var/tmp"))
    directory.chmod(0o755)
    findings = Findings()
    findings.say(f"{again}; {len(faults)} faults; logs are in {directory}")
    deployment = Deployment(directory, arguments.postgres, arguments.programs, findings)
    try:
        deployment.create()
        findings.say("databases created")
        run = Run(seed, arguments.seconds, faults, deployment, findings,
                  pace=0.3 if arguments.operator else 3)
        run.start()
        run.hit()
        run.drain()
        run.check()
        run.report()
    finally:
        deployment.close()
    print(f"\nseed {seed}: {findings.count} violations {findings.kinds or ''}")
    if findings.count == 0 and not arguments.keep:
        shutil.rmtree(directory)
    else:
        print(f"logs are in {directory}; again: {again}")
    return 0 if findings.count == 0 else 1


if __name__ == "__main__":
    sys.setswitchinterval(0.001)
    sys.exit(main())
