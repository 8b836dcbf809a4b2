"""An operator who sets, removes, renames and registers consumers, and a receiver that comes and goes: what the tables said at each
step is what must have been delivered."""

from __future__ import annotations

import bisect
import random
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from Harness.findings import Findings
from Harness.receivers import ReliableReceiver
from Harness.record import Record
from Harness.sockets import Connection, Lost
from Harness.waiting import eventually
from Harness.worker import Worker

if TYPE_CHECKING:
    from deployment import Deployment

NAME = "OPERATED"
OTHER = "RENAMED"
"""The name it has for a while."""


class OperatedRecord(Record):
    """Of a receiver whose consumer is moved: each session for itself, and every receipt."""

    def __init__(self, name: str, findings: Findings):
        super().__init__(name, findings)
        self._begins = False
        self.starts: list[tuple[float, list[int]]] = []
        """When each session, or another run of its first group, began, and its events."""
        self.receipts: dict[int, list[float]] = {}
        """When each event was confirmed, each time."""

    def began(self) -> None:
        self._begins = True

    def arrived(self, events: list[dict]) -> None:
        # The same first group again is no other session, as far as can be seen.
        if self._begins and not (self.starts and self.starts[-1][1][:1] == [int(events[0]["id"])]):
            self.sessions += 1
            self.starts.append((time.time(), []))
        self._begins = False
        # What comes for the first time may well be older than what was skipped: the order is a session's.
        self.newest = 0
        super().arrived(events)
        if self.starts:
            self.starts[-1][1].extend(int(event["id"]) for event in events)

    def answering(self, ids) -> None:
        super().answering(ids)
        for number in ids:
            self.receipts.setdefault(number, []).append(time.time())


class OperatedReceiver(ReliableReceiver):
    """Vanishes without a word, and comes back to the same pusher or to another, sooner or later than its lease ends."""

    record: OperatedRecord

    def __init__(self, record: OperatedRecord, ports: list[int], findings: Findings, draw: random.Random):
        super().__init__(record, ports, findings)
        self._draw = draw
        self.is_steady = False
        self._vanishes_at = 0.0

    def next_port(self) -> int:
        return self._draw.choice(self._ports)

    def serve(self, connection: Connection) -> None:
        self._vanishes_at = time.monotonic() + self._draw.expovariate(1 / 1.5)
        super().serve(connection)

    def rest(self) -> float:
        return 0.1 if self.is_steady else self._draw.choice([0.05, 0.3, 1.0, 3.0])

    def idle(self, connection: Connection) -> float:
        if not self.is_steady and time.monotonic() > self._vanishes_at:
            raise Lost("it vanishes")
        return 0.05

    def began(self) -> None:
        self.record.began()

    def failed(self, message: dict) -> None:
        # While it is removed, or has another name.
        if message["e"] != "NotRegistered":
            super().failed(message)


class Operator(Worker):
    """Does one thing after the other to the consumer, by `evt`; whether it could be done, the tables tell."""

    def __init__(self, deployment: Deployment, draw: random.Random, pace: float):
        super().__init__("operator", deployment.findings)
        self._deployment, self._draw, self._pace = deployment, draw, pace
        self.done = 0
        self.failures: Counter[str] = Counter()

    def work(self) -> None:
        if self.pause(self._draw.expovariate(1 / self._pace)):
            return
        # The database may be away.
        with suppress(psycopg.Error, subprocess.TimeoutExpired):
            self._act(self._draw.choices(["back", "head", "zero", "again", "rename"], [6, 2, 1, 2, 1])[0])

    def _act(self, what: str) -> None:
        match what:
            case "back":
                self._evt("set", NAME, str(self._earlier()))
            case "head":
                self._evt("set", NAME, "head")
            case "zero":
                self._evt("set", NAME, "0")
            case "again":
                self._evt("remove", "--force", NAME)
                self.pause(self._draw.choice([0, 0, 0.5]))
                self._evt("register", NAME)
            case "rename":
                # It may be at work: then only by force.
                if "renamed" in (self._rename(NAME, OTHER) or self._rename(NAME, OTHER, "--force") or ""):
                    self.pause(self._draw.choice([0.1, 1.0]))
                    self._back_to_its_name()

    def _rename(self, old: str, new: str, *options: str) -> str | None:
        return "renamed" if self._evt("rename", *options, f"local:{old}", new) else None

    def _back_to_its_name(self) -> None:
        self._rename(OTHER, NAME) or self._rename(OTHER, NAME, "--force")

    def _earlier(self) -> int:
        (position, discarded), = self._deployment.query(
            f"SELECT COALESCE((SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{NAME}'), 0), discarded "
            "FROM evt_queue_state")
        return max(discarded, position - self._draw.choice([1, 10, 100, 1000]), 1)

    def _evt(self, *arguments: str) -> bool:
        before = time.monotonic()
        said = self._deployment.evt("consumers", *arguments, check=False)
        self.done += 1
        if said.startswith("Error"):
            self.failures[said.splitlines()[0][:60]] += 1
        if time.monotonic() - before > 40:
            self.findings.violation("operator", f"evt consumers {' '.join(arguments)} took {time.monotonic() - before:.0f} s")
        return not said.startswith("Error")

    def stop(self) -> None:
        """Leaves the consumer as it was found: there, under its name."""
        super().stop()
        try:
            eventually(self._is_as_it_was, "the consumer is registered under its name again", every=0.2)
        except AssertionError as error:
            self.findings.violation("stuck", str(error))

    def _is_as_it_was(self) -> bool:
        with suppress(psycopg.Error, subprocess.TimeoutExpired):
            idents = [ident for ident, in self._deployment.query("SELECT ident FROM evt_consumers")]
            if f"local:{NAME}" not in idents:
                self._back_to_its_name() if f"local:{OTHER}" in idents else self._evt("register", NAME)
            elif f"local:{OTHER}" in idents:
                self._evt("remove", "--force", OTHER)
            else:
                return True
        return False


@dataclass(frozen=True)
class Step:
    ident: str
    kind: str
    before: int | None
    after: int | None
    discarded: int
    at: float


class OperatedInvariants:
    """What the tables said is what was delivered."""

    def __init__(self, deployment: Deployment, truth: dict, record: OperatedRecord, findings: Findings):
        self._ids = sorted(truth)
        self._record, self._findings = record, findings
        self.steps = [Step(*row) for row in deployment.query(
            "SELECT ident, kind, before, after, discarded, extract(epoch FROM at)::float8 FROM steps "
            f"WHERE ident IN ('local:{NAME}', 'local:{OTHER}') ORDER BY step")]
        self._known = set(self._ids)

    def check(self) -> None:
        self._confirmed()
        self._sessions()

    def _between(self, first: int, last: int) -> list[int]:
        """Events after the first id, up to and including the last."""
        return self._ids[bisect.bisect_right(self._ids, first):bisect.bisect_right(self._ids, last)]

    def _confirmed(self) -> None:
        """A position moves over what has been processed since an operator set it last, and over what was discarded, only."""
        floor, since, wrong = 0, 0.0, []
        for step in self.steps:
            if step.kind in ("set", "register"):
                floor, since = step.discarded, step.at
            elif step.kind == "move":
                if step.after < step.before:
                    wrong.append((step, "it moved back"))
                skipped = [
                    number for number in self._between(max(step.before, floor), step.after)
                    if not any(since <= at <= step.at for at in self._record.receipts.get(number, []))]
                if skipped:
                    wrong.append((step, f"{len(skipped)} events were not processed since: {skipped[0]} to {skipped[-1]}"))
        if wrong:
            self._findings.violation("skipped", f"{self._record.name}: {len(wrong)} moves, such as {wrong[:3]}")

    def _sessions(self) -> None:
        """A session begins after the position that was claimed for it, and leaves nothing out."""
        claims = [step for step in self.steps if step.kind == "claim"]
        wrong = []
        for began, events in self._record.starts:
            known = [number for number in events if number in self._known]
            if not known:
                continue
            candidates = [claim for claim in claims if claim.at <= began + 0.01]
            # Of a pusher that was frozen the group may come late; mostly it is the last claim.
            if not any(self._follows(known, claim) for claim in candidates[-20:]):
                last = candidates[-1] if candidates else None
                wrong.append((f"{known[0]} to {max(known)}", last and (last.after, last.discarded)))
        if wrong:
            self._findings.violation(
                "begun", f"{self._record.name}: {len(wrong)} sessions do not go on from where the table stood, such as {wrong[:3]}")

    def _follows(self, events: list[int], claim: Step) -> bool:
        """Whether these are all there are after the claimed position, but for what was gone."""
        missing = set(self._between(max(claim.after, claim.discarded), max(events))) - set(events)
        # An operator who sets the position forward lets the rest of the session's events be discarded.
        return events[0] > claim.after and not [number for number in missing if not self._gone_meanwhile(number, claim)]

    def _gone_meanwhile(self, number: int, claim: Step) -> bool:
        return any(
            step.at > claim.at and step.discarded >= number for step in self.steps) and any(
            step.at > claim.at and (step.kind == "remove" or step.kind == "set" and step.after > step.before)
            for step in self.steps)


def summary(operator: Operator, invariants: OperatedInvariants) -> str:
    kinds = Counter(step.kind for step in invariants.steps)
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"operator: {operator.done} commands ({sum(operator.failures.values())} could not be done); in the table: {done}"
