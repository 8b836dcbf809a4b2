"""What all rivals have in common: how an event is recorded, what runs beside the server, one consumer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from Harness.postgres import children_of
from Harness.processes import Process
from Harness.waiting import eventually
from Rivals.tally import Seen
from Rivals.world import Site

ROWS = ("recording", "e2e", "latency", "drain", "idle")
STATE = Path(__file__).resolve().parents[2] / ".evt"
"""What etc/bench has unpacked is below."""


def event(client: str, number: str, filler: str = f"'{'x' * 60}'") -> str:
    """Each event is another JSON object of about 150 bytes, as an expression of SQL."""
    return ("""format('{"k":"%s-%s","order":%s,"customer":%s,"items":[%s,%s],"total":%s,"note":"%s"}', """
            f"{client}, {number}, 100000 + {number}, 10000 + {number} % 9973, {number} % 97, {number} % 89, "
            f"1000 + {number} % 997, {filler})")


def called(call: str, source: str) -> str:
    """The call for each row of a FROM clause, or once for none."""
    return f"SELECT count({call}) FROM {source}" if source else f"SELECT {call}"


class Rival:
    """One way to hand committed events to a consumer, in a database of its own."""

    name: str
    what: str
    """How it was set up."""
    guarantees: str
    wal_level = "replica"
    rows = ROWS
    needs: tuple[str, ...] = ("none",)
    """Others that it is compared with."""
    keeps_order = False
    is_reliable = False
    drain_events = 500_000
    runs_while_filled = False
    """Whether its servers must run before there is a backlog."""
    consumer_program: str | None = None
    components: tuple[str, ...] = ("R0",)
    """Names of the consumers, where several can get all events."""

    def __init__(self, site: Site):
        self.site = site
        self.servers: list[Process] = []
        """What runs beside the database server: pushers, relays, brokers."""
        self.consumer: Process | None = None
        self.seen: Seen | None = None

    @classmethod
    def missing(cls) -> str:
        """What must be installed for it; empty if all is there."""
        return ""

    def prepare(self) -> None:
        """Makes tables and the like."""

    def one(self, data: str) -> str | None:
        """The statement that records one event."""
        return self.many(data, "")

    def many(self, data: str, source: str) -> str | None:
        """The statement that records an event for each row of a FROM clause, or one event for none."""

    def fill(self, data: str, source: str) -> str:
        """The same while nobody listens."""
        return self.many(data, source)

    def start_servers(self) -> None:
        """Starts what the consumer needs."""

    def start_relay(self) -> None:
        """Starts what needs the consumer's queue."""

    def options(self) -> dict:
        """What the consumer is told."""
        return {"url": self.site.url}

    def start(self, *, keep: bool = False) -> None:
        """Starts all; returns when what is committed arrives at once."""
        self.start_servers()
        if self.consumer_program:
            self.consumer, self.seen = self.program(self.consumer_program, "consumer", keep=keep, **self.options())
            self._wait_for(self.consumer, self.seen)
        self.start_relay()

    def program(self, module: str, name: str, *, keep: bool = False, **options) -> tuple[Process, Seen]:
        """Starts one of the consumers' programs, and says what it has seen."""
        file = self.site.directory / f"{name}.tally"
        seen = Seen(file)
        command = [sys.executable, "-m", f"Rivals.consumers.{module}", file, json.dumps({**options, "keep": keep})]
        return Process(command, {}, self.site.directory / f"{name}.log", name).start(), seen

    def relay(self, module: str, **options) -> None:
        process, seen = self.program(module, "relay", role="relay", **options)
        self.servers.append(process)
        self._wait_for(process, seen)

    def serve(self, command: list, name: str, **settings: str) -> Process:
        """Starts a server."""
        self.servers.append(Process(command, settings, self.site.directory / f"{name}.log", name).start())
        return self.servers[-1]

    @staticmethod
    def _wait_for(process: Process, seen: Seen) -> None:
        def is_ready() -> bool:
            assert process.is_running(), f"it ended while starting\n{process.log_tail()}"
            return seen.is_ready
        eventually(is_ready, f"{process.name} is ready", every=0.005)

    @property
    def consumers(self) -> int:
        return len(self.components)

    @property
    def consumer_pids(self) -> list[int]:
        return [self.consumer.pid, *children_of(self.consumer.pid)] if self.consumer else []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.servers]

    def check(self) -> None:
        """Nothing may have ended by itself."""
        for process in (*self.servers, *([self.consumer] if self.consumer else [])):
            assert process.is_running(), f"{process.name} ended\n{process.log_tail()}"

    def stop_consumer(self) -> None:
        """The consumer writes down what it has kept."""
        self.consumer.stop()

    def kill(self) -> None:
        """Whatever still runs ends."""
        for process in (*([self.consumer] if self.consumer else []), *self.servers[::-1]):
            if process.is_running():
                process.signal(15)
                process.wait()


class NoEvent(Rival):
    """What all are compared with."""

    name = "none"
    what = "the same transaction without an event"
    guarantees = "-"
    rows = ("recording", "e2e")
    needs = ()


class NoEventLogical(NoEvent):
    """The same on the server of logical messages."""

    name = "none, wal_level=logical"
    what = "the same on a server with wal_level=logical"
    wal_level = "logical"
    rows = ("recording",)
