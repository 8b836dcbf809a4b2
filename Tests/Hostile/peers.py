"""Those who do nothing wrong, and what they see: how long their calls take, and how late events come."""

from __future__ import annotations

import random
import time

import psycopg

from Harness.findings import Findings
from Harness.receivers import ReliableReceiver
from Harness.sockets import Connection, Lost, local
from Harness.wire import GEN, PING
from Harness.worker import Worker
from Harness.events import TYPES, event_data

PATIENCE = 60
"""Seconds. A call that takes longer counts as not answered."""

Samples = list[tuple[float, float]]
"""When something began, and how long it took."""


class Steady(Worker):
    """Does one thing after the other, so many times a second as far as each takes no longer."""

    def __init__(self, name: str, per_second: float, findings: Findings):
        super().__init__(name, findings)
        self._interval = 1 / per_second
        self._due = time.monotonic()
        self.samples: Samples = []

    def work(self) -> None:
        # Who was late does not hurry: the next one comes no sooner than usual.
        self._due = max(self._due + self._interval, time.monotonic())
        if not self.pause(self._due - time.monotonic()):
            self.act()

    def act(self) -> None:
        raise NotImplementedError


class Writer(Steady):
    """An application: an event in each transaction."""

    def __init__(self, name: str, url: str, draw: random.Random, per_second: float, findings: Findings):
        super().__init__(name, per_second, findings)
        self.committed: dict[str, float] = {}
        """When the COMMIT of each key was sent."""
        self._draw = draw
        self._connection = psycopg.connect(url, application_name=name, autocommit=True)

    def act(self) -> None:
        key = f"{self.name}-{len(self.committed)}"
        begin = time.time()
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT evt_add(%s, %s)", [self._draw.choice(TYPES), event_data(self._draw, key)])
        self.committed[key] = time.time()
        self._connection.execute("COMMIT")
        self.samples.append((begin, time.time() - begin))


class Client(Steady):
    """One call at a time over one connection, which is made anew when it is lost."""

    def __init__(self, name: str, port: int, per_second: float, findings: Findings):
        super().__init__(name, per_second, findings)
        self.lost = 0
        """Connections."""
        self._port = port
        self._connection: Connection | None = None

    def exchange(self, function: str, parameters: str) -> dict | None:
        """Calls with this JSON text and waits for the answer; None if the connection was lost."""
        begin = time.time()
        rid = f"C{len(self.samples)}"
        try:
            if self._connection is None:
                self._connection = Connection(local(self._port))
            self._connection.send(f'{{"f":"{function}","p":{parameters},"rid":"{rid}"}}')
            answer = self._connection.answer(rid, PATIENCE)
        except Lost:
            self._forget()
            return None
        self.samples.append((begin, time.time() - begin))
        if answer is None:
            self.findings.violation("unanswered", f"{self.name}: {function} within {PATIENCE} s")
            self._forget()
        return answer

    def _forget(self) -> None:
        self.lost += 1
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Caller(Client):
    """Records events by the generator."""

    def __init__(self, name: str, port: int, draw: random.Random, per_second: float, findings: Findings):
        super().__init__(name, port, per_second, findings)
        self.answered: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.unreached: list[str] = []
        """Refusals because of the database; whether they are right depends on what else the machine did."""
        self._draw, self._number = draw, 0

    def act(self) -> None:
        self._number += 1
        key = f"{self.name}-{self._number}"
        event = f'{{"type":"{self._draw.choice(TYPES)}","data":{event_data(self._draw, key)}}}'
        answer = self.exchange(f"{GEN}:addEvent", event)
        if answer is not None and "r" in answer:
            self.answered[key] = int(answer["r"])
        elif answer is not None:
            self.refused[key] = f"{answer['e']}: {answer.get('edesc')}"
            if "the database cannot be reached" in self.refused[key]:
                self.unreached.append(self.refused[key])
            else:
                self.findings.violation("refused", f"{self.name}: {self.refused[key]}")


class Pinger(Client):
    """Shows how long a process takes to answer what needs no database."""

    def act(self) -> None:
        answer = self.exchange(f"{PING}:ping", '{"echo":1}')
        if answer is not None and answer.get("r") != {"echo": 1}:
            self.findings.violation("ping", f"{self.name} got {answer}")


class StableReceiver(ReliableReceiver):
    """Has a routing id of its own, to keep its session over a reconnect; others know it."""

    routing_id = b"stable receiver"
