"""A hostile run: a well-behaved pipeline, attacked in every way by those who can reach it, and every promise checked.

Run it with etc/hostile, which builds the programs and sets the environment up.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import attacks
import phases
from Harness import processes, sockets
from Harness.events import TYPES
from Harness.invariants import Invariants, load_truth
from Harness.receivers import Poller, ReliableReceiver, Subscriber
from Harness.record import LiveRecord, Record
from Harness.scenario import Command, Scenario
from hostility import START_SECONDS, Attackers, Watch
from peers import Caller, Pinger, Samples, StableReceiver, Writer
from phases import Measured, Phase
from world import World

LATE = 10
"""Seconds. An event that comes later was not delivered in time, unless the machine itself stood still so long."""


class Run(Scenario):
    """Attacks, on a pipeline whose peers do nothing wrong."""

    scene: World

    def __init__(self, seed: int, schedule: list[Phase], world: World):
        super().__init__(world)
        self.seed, self.phases = seed, schedule
        findings = self.findings
        self.counts: dict[str, Counter[str]] = {}

        def random_of(name: str) -> random.Random:
            return random.Random(f"{seed}/{name}")

        ports, wanted = world.ports, set(TYPES)
        if world.keyring is not None:
            sockets.standard_keys = world.keyring.keys(world.user)
        self.writers = [Writer(f"writer_{n}", world.settings["EVT_DATABASE_URL"], random_of(f"writer{n}"), 50, findings) for n in range(2)]
        self.callers = [Caller(f"caller_{n}", ports.generator, random_of(f"caller{n}"), 40, findings) for n in range(2)]
        self.pingers = [Pinger("generator", ports.generator, 20, findings), Pinger("pusher", ports.pusher, 20, findings)]
        reliable, filtered, stable, poller = self.reliable = [
            Record("RELIABLE", findings, wanted), Record("FILTERED", findings, {"ALPHA", "DELTA_"}),
            Record("STABLE", findings, wanted), Record("POLLER", findings, wanted)]
        # What begins with an E may also be of those who attack.
        self.subscriber = LiveRecord("subscriber", findings, wanted - {"E"})
        self.records = [*self.reliable, self.subscriber]
        self.receivers = [
            ReliableReceiver(reliable, [ports.pusher], findings), ReliableReceiver(filtered, [ports.pusher], findings),
            StableReceiver(stable, [ports.pusher], findings), Poller(poller, [ports.pusher], findings),
            Subscriber(self.subscriber, [ports.live], findings)]

    def start(self) -> None:
        self.scene.start()
        for thread in (*self.receivers, *self.writers, *self.callers, *self.pingers):
            thread.start()
        self.eventually("a first event everywhere", lambda: all(record.first for record in self.records)
                         and all(client.samples for client in (*self.callers, *self.pingers)))
        for client in (*self.callers, *self.pingers):
            # Some came before those they called.
            client.lost = 0
        for caller in self.callers:
            caller.unreached.clear()
        self.watch = Watch(self.scene)
        self.watch.start()

    def hit(self) -> None:
        """Lets the phases come one after the other."""
        self.findings.begin()
        now = time.time()
        for phase in self.phases:
            phase.begin, phase.end = now, now + phase.seconds
            now = phase.end
        for phase, following in zip(self.phases, [*self.phases[1:], None]):
            log = self.scene.log_bytes()
            attackers = None
            if phase.attacks:
                attackers = Attackers(self.scene, phase, self.seed)
            time.sleep(max(0, phase.end - time.time() - (START_SECONDS if following and following.attacks else 0)))
            if attackers is None:
                continue
            counts = attackers.finish()
            counts["log bytes"] = self.scene.log_bytes() - log
            if removed := self.scene.remove_strangers():
                counts["consumers removed"] = removed
            self.counts.setdefault(phase.name, Counter()).update(counts)
            self.findings.say(f"{phase.name}: {', '.join(f'{count} {name}' for name, count in counts.most_common(9))}; "
                              + ", ".join(f"{name} {self.watch.most(name, phase):.0f} MB" for name in self.watch.memory))

    def calm(self) -> None:
        for thread in (*self.writers, *self.callers, *self.pingers):
            thread.stop()

    def check(self) -> None:
        for thread in self.receivers:
            thread.stop()
        self.watch.stop()
        self.scene.supervisor.stop()
        self.findings.say("processes stopped")
        self.truth = load_truth(self.scene)
        good = {number: event for number, event in self.truth.items() if event.type in TYPES}
        for_good = Invariants(self.scene, good, self.findings)
        for record in self.records:
            for_good.only_committed(record)
        for record in self.reliable:
            for_good.delivered(record)
        for_good.positions(self.reliable)
        for_good.discards()
        for_good.calls(self.callers)
        Invariants(self.scene, self.truth, self.findings).archive()
        self._written({event.key: event.id for event in good.values()})
        self.watch.check_growth(self.phases)
        # What the machine has taken from those who are not attacked it has taken from the others as well, at every step.
        starved, slowest = self.watch.starved, max(
            (took for writer in self.writers for _, took in writer.samples), default=0)
        allowed = LATE + 5 * starved + 3 * slowest
        for caller in self.callers:
            if caller.unreached and starved < 1:
                self.findings.violation("refused", f"{caller.name}: {len(caller.unreached)} times, {caller.unreached[0]}")
        for record in self.reliable:
            late = [(at, took) for at, took in self._latencies(record) if took > allowed]
            if late:
                self.findings.violation("late", f"{record.name} got {len(late)} events more than {allowed:.1f} s after their "
                                        f"commit, the latest after {max(took for _, took in late):.1f} s, "
                                        f"at {[f'{at - self.phases[0].begin:.1f}' for at, _ in late[:3]]}")
        self.findings.say("checked")

    def _written(self, keys: dict[str, int]) -> None:
        """What was committed is there; nothing is there twice."""
        missing = [key for writer in self.writers for key in writer.committed if key not in keys]
        if missing:
            self.findings.violation("writer", f"{len(missing)} committed events are not there: {missing[:5]}")

    def _latencies(self, record: Record) -> Samples:
        """Of each event that a writer has committed: when, and how much later it was received."""
        committed = {key: at for writer in self.writers for key, at in writer.committed.items()}
        return [(committed[key], at - committed[key]) for at, number in record.arrivals
                if (key := record.first[number][1]) in committed]

    def report(self) -> None:
        def samples(clients) -> Samples:
            return [sample for client in clients for sample in client.samples]

        measures = [
            Measured("addEvent", samples(self.callers)),
            Measured("receipt", [sample for record in self.reliable[:2] for sample in self._latencies(record)]),
            Measured("poll", self._latencies(self.reliable[3])), Measured("broadcast", self._latencies(self.subscriber)),
            Measured("ping gen.", self.pingers[0].samples), Measured("ping pusher", self.pingers[1].samples),
            Measured("commit", samples(self.writers))]
        details = {name: f"{counts['log bytes'] // 1024} kB" for name, counts in self.counts.items()}
        missed = sum(event.type in self.subscriber.want and number not in self.subscriber.first
                     and self.phases[0].begin < event.recorded < self.phases[-1].end for number, event in self.truth.items())
        children = self.scene.supervisor.children.values()
        print(f"""
{len(self.truth)} events, {sum(event.type in TYPES for event in self.truth.values())} of them of good peers
again: {", ".join(f"{record.name} {record.duplicates}" for record in self.reliable)}; sessions begun: \
{", ".join(f"{record.name} {record.sessions}" for record in self.reliable[:3])}; the subscriber missed {missed}
connections lost: {", ".join(f"{client.name} {client.lost}" for client in (*self.callers, *self.pingers))}
errors told: {", ".join(f"{receiver.name} {receiver.errors}" for receiver in self.receivers[:4] if receiver.errors) or "none"}
memory: {", ".join(f"{child.name} {child.most_memory:.0f} MB, {self.watch.descriptors[child.name]} descriptors" for child in children)}

Milliseconds. With few processors the attackers, though of the lowest priority, share them with their victims: how much that
makes shows in "commit", which has nothing to do with what is attacked.
{phases.report(self.phases, measures, details)}""")


def main() -> int:
    command = Command("hostile", "Attacks a well-behaved pipeline in every way, and checks every promise. "
                      "Below 60 seconds all attacks come together.", 600, list(attacks.KINDS), "attacks")
    add = command.parser.add_argument
    add("--phase", type=float, default=10, help="seconds of quiet, and of each attack (10)")
    add("--keys", action="store_true", help="with CURVE: strangers attack, and a user with some rights")
    add("--memory", type=int, default=processes.MEMORY_LIMIT, help="megabytes a process may have (%(default)s)")
    arguments = command.parse()
    processes.MEMORY_LIMIT = arguments.memory
    kinds = arguments.kinds or list(attacks.KINDS)
    if arguments.keys:
        chosen = [(kind, "mallory") for kind in kinds] + [(kind, "strangers") for kind in kinds if kind in attacks.OF_STRANGERS]
    else:
        chosen = [(kind, "") for kind in kinds]
    schedule = phases.draw(arguments.seed, arguments.seconds, chosen, arguments.phase, together=arguments.seconds < 60)
    if arguments.show:
        for phase in schedule:
            print(f"{phase.seconds:5.1f} s  {phase.name}")
        return 0
    return command.run(
        arguments, f" --phase {arguments.phase:g}" + (" --keys" if arguments.keys else ""),
        lambda directory, findings: World(directory, arguments.postgres, arguments.programs, findings, with_keys=arguments.keys),
        lambda world: Run(arguments.seed, schedule, world))


if __name__ == "__main__":
    sys.exit(main())
