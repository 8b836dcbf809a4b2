"""Those who record events: transactions of every kind, and callers of the generators."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import psycopg

from Harness.events import TYPES, event_data
from Harness.findings import Findings
from Harness.sockets import Connection, Lost, local
from Harness.wire import GEN
from Harness.worker import DatabaseWorker, Worker


class Writer(DatabaseWorker):
    """One application: a transaction after the other."""

    def __init__(self, name: str, url: str, draw: random.Random, findings: Findings, pace: float):
        super().__init__(name, url, findings)
        self.counts: Counter[str] = Counter()
        self.rolled_back: set[str] = set()
        """Keys of events that nobody may ever see."""
        self._draw, self._pace = draw, pace
        self._number = 0

    def use(self, connection: psycopg.Connection) -> None:
        while not self.is_stopping and not connection.closed:
            self._transaction(connection)
            self.pause(self._draw.expovariate(1 / self._pace))

    def _transaction(self, connection: psycopg.Connection) -> None:
        draw = self._draw
        outcome = "lost"
        keys: list[str] = []
        committing = False
        try:
            connection.execute("BEGIN")
            for _ in range(draw.choice([1, 1, 2, 3])):
                undo = draw.random() < 0.15
                if undo:
                    connection.execute("SAVEPOINT s")
                new = self._record(connection, draw.choice([1, 1, 1, 2, 5, 10, 17]))
                if undo:
                    connection.execute("ROLLBACK TO s")
                    self.rolled_back.update(new)
                else:
                    keys += new
                if draw.random() < 0.08:
                    self.pause(draw.uniform(0, 0.3))
            if draw.random() < 0.02:
                # Ids that many rolled back events would have had: the stream comes to further segments.
                keys += self._record(connection, 1)
                connection.execute("SELECT count(nextval('evt_queue_id_seq')) FROM generate_series(1, 30000)")
                undone = True
            else:
                undone = draw.random() < 0.1
            if undone:
                self.rolled_back.update(keys)
                connection.execute("ROLLBACK")
                outcome = "rolled back"
            else:
                committing = True
                connection.execute("COMMIT")
                outcome = "committed"
        except psycopg.Error:
            outcome = "unknown" if committing else "failed"
            if not committing:
                self.rolled_back.update(keys)
            if not connection.closed:
                try:
                    connection.execute("ROLLBACK")
                except psycopg.Error:
                    connection.close()
        self.counts[outcome] += 1

    def _record(self, connection: psycopg.Connection, count: int) -> list[str]:
        draw = self._draw
        keys = []
        for _ in range(count):
            self._number += 1
            keys.append(f"{self.name}-{self._number}")
        data = [event_data(draw, key) for key in keys]
        types = [draw.choice(TYPES) for _ in keys]
        try:
            if draw.random() < 0.5:
                connection.execute(
                    "SELECT evt_add(type, data::json) FROM unnest(%s::text[], %s::text[]) AS new (type, data)", [types, data])
            else:
                values = ", ".join(["(%s, %s)"] * count)
                connection.execute(f"INSERT INTO evt_queue (type, data) VALUES {values}",
                                   [value for pair in zip(types, data) for value in pair])
        except psycopg.Error:
            self.rolled_back.update(keys)
            raise
        return keys


class Bystander(DatabaseWorker):
    """Transactions that record no events and stay open, and connections that do nothing: nobody may mind them."""

    def __init__(self, name: str, url: str, draw: random.Random, findings: Findings):
        super().__init__(name, url, findings)
        self._draw = draw

    def use(self, connection: psycopg.Connection) -> None:
        while not self.is_stopping:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM evt_consumers")
            self.pause(self._draw.uniform(0, 5))
            connection.execute("COMMIT")
            self.pause(self._draw.uniform(0, 2))


class Snapshot(DatabaseWorker):
    """Somebody's report: one snapshot that is as old as the run, or as old as the server lets it get. Nothing that has been deleted or
    updated since can be cleaned away beside it."""

    def use(self, connection: psycopg.Connection) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        # Another table's: a lock on the stream's would be another fault.
        connection.execute("SELECT count(*) FROM pg_proc")
        while not self.pause(1):
            connection.execute("SELECT 1")


class Caller(Worker):
    """A client of the generators: pipelined calls, the next generator when one is silent."""

    def __init__(self, name: str, ports: list[int], draw: random.Random, findings: Findings, pace: float):
        super().__init__(name, findings)
        self.answered: dict[str, int] = {}
        """Keys and their ids."""
        self.refused: dict[str, str] = {}
        """Keys that were said not to be recorded, and why."""
        self.unknown: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self._ports, self._draw, self._pace = itertools.cycle(ports), draw, pace
        self._number = 0

    def work(self) -> None:
        connection = Connection(local(next(self._ports)))
        self._newest = 0
        try:
            while not self.is_stopping:
                self._call(connection)
                self.pause(self._draw.expovariate(1 / self._pace))
        except Lost:
            self.pause(0.05)
        finally:
            connection.close()

    def _call(self, connection: Connection) -> None:
        calls: dict[str, str] = {}
        for _ in range(self._draw.choice([1, 1, 2, 4, 8])):
            self._number += 1
            key = f"{self.name}-{self._number}"
            data = event_data(self._draw, key)
            rid = f"C{self._number}"
            calls[rid] = key
            event = f'{{"type":"{self._draw.choice(TYPES)}","data":{data}}}'
            connection.send(f'{{"f":"{GEN}:addEvent","p":{event},"rid":"{rid}"}}')
        order = list(calls)
        self.unknown.update(calls.values())
        deadline = time.monotonic() + 4
        while calls:
            message = connection.receive(deadline - time.monotonic())
            if message is None and time.monotonic() >= deadline:
                raise Lost("no answer")
            if message is None or (key := calls.pop(message.get("rid"), None)) is None:
                continue
            if "r" in message:
                self.unknown.discard(key)
                self.answered[key] = int(message["r"])
            elif "not known" not in message.get("edesc", ""):
                self.unknown.discard(key)
                self.refused[key] = f"{message['e']}: {message.get('edesc')}"
                self.refusals[message["e"]] += 1
        keys = {rid: f"{self.name}-{rid[1:]}" for rid in order}
        ids = [self.answered[keys[rid]] for rid in order if keys[rid] in self.answered]
        for number in ids:
            if number <= self._newest:
                self.findings.violation("call order", f"{self.name}: ids {ids} after {self._newest}, in the order of the calls")
            self._newest = max(self._newest, number)
