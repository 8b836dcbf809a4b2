"""Receivers of different kinds, each a thread, written from the protocol alone."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter

import zmq

from Harness.findings import Findings
from Harness.record import LiveRecord, Record
from Harness.sockets import Connection, Lost, local, new_socket
from Harness.wire import ON_EVENTS, PUSH
from Harness.worker import Worker

KEEP_ALIVE = 0.4
PATIENCE = 5
"""Seconds. A pusher that says nothing for so long is left for the next one."""


class Receiver(Worker):
    """Goes from one pusher to the next when it loses one."""

    routing_id: bytes | None = None

    def __init__(self, record: Record, ports: list[int], findings: Findings):
        super().__init__(record.name, findings)
        self.record = record
        self.component = record.name
        self._ports = ports
        self._turn = itertools.count()
        self.errors: Counter[str] = Counter()

    def next_port(self) -> int:
        return self._ports[next(self._turn) % len(self._ports)]

    def work(self) -> None:
        connection = Connection(local(self.next_port()), routing_id=self.routing_id)
        try:
            self.serve(connection)
        except Lost:
            pass
        finally:
            connection.close()
        self.pause(self.rest())

    def rest(self) -> float:
        """Seconds between two connections."""
        return 0.05

    def serve(self, connection: Connection) -> None:
        """Uses one connection while it is good."""
        raise NotImplementedError

    @property
    def want(self) -> list[str] | None:
        return sorted(self.record.want) if self.record.want else None

    def failed(self, message: dict) -> None:
        name = message["e"]
        self.errors[name] += 1
        if name not in ("InternalError", "ConsumerBusy"):
            self.findings.violation("error", f"{self.name} was told {name}: {message.get('edesc')}")


class ReliableReceiver(Receiver):
    """Answers each group at once."""

    last_rid = "S1"
    """Of the last call that was answered."""

    def serve(self, connection: Connection) -> None:
        asked = None
        ready_at = 0.0
        waits_since = time.monotonic()
        has_session = False
        newest = -1
        while not self.is_stopping:
            now = time.monotonic()
            if asked is None and now >= ready_at:
                parameters = {} if self.component == "LIVE" else {"want": self.want}
                asked = connection.request(f"{PUSH}:readyToReceive", {"component": self.component, **parameters})
                waits_since = now
            if asked is not None and now - waits_since > PATIENCE:
                raise Lost("no answer")
            message = connection.receive(min(0.05, self.idle(connection)))
            if message is None:
                continue
            if message.get("f") == ON_EVENTS:
                sequence = message["p"]["seq"]
                events = message["p"]["events"]
                if sequence == 0:
                    self.began()
                elif self.component != "LIVE" and sequence > newest + 1 and (newest >= 0 or self.routing_id is None):
                    self.findings.violation("sequence", f"{self.name} got seq {sequence} after {newest}")
                # A group 0 that is sent again looks like a new session: then later ones are known already.
                newest = max(newest, sequence)
                self.record.arrived(events)
                self.process(connection, message["rid"], [int(event["id"]) for event in events])
            elif asked is not None and message.get("rid") == asked:
                asked = None
                ready_at = time.monotonic() + KEEP_ALIVE
                if "e" in message:
                    self.failed(message)
                    ready_at = time.monotonic() + 0.2
                    if has_session or message["e"] == "InternalError":
                        # Perhaps the other pusher can.
                        self.pause(0.2)
                        raise Lost(message["e"])
                else:
                    has_session = True

    def began(self) -> None:
        """A session has begun, or its first group has come again."""
        self.record.sessions += 1

    def idle(self, connection: Connection) -> float:
        """Called between messages; returns after how many seconds to call it again."""
        return 1

    def process(self, connection: Connection, rid: str, ids: list[int]) -> None:
        self.last_rid = rid
        self.record.answering(ids)
        connection.reply(rid, r=True)


class Liar(ReliableReceiver):
    """Slow, and wrong in every way it can be, until it is told to be honest."""

    def __init__(self, record: Record, ports: list[int], findings: Findings, draw: random.Random, neighbour: ReliableReceiver):
        super().__init__(record, ports, findings)
        self.is_honest = False
        self._draw = draw
        self._neighbour = neighbour
        self._held: list[tuple[float, str, list[int]]] = []
        self._connection: Connection | None = None

    def process(self, connection: Connection, rid: str, ids: list[int]) -> None:
        if self._connection is not connection:
            self._connection, self._held = connection, []
        if self.is_honest:
            return super().process(connection, rid, ids)
        match self._draw.randrange(12):
            case 0:
                connection.reply(rid, e="InternalError", edesc="a lie")
            case 1:
                super().process(connection, rid, ids)
                super().process(connection, rid, ids)
            case 2:
                # For others: these calls were never made to us.
                connection.reply(self._neighbour.last_rid, r=True)
                connection.reply(f"S{self._draw.randrange(1 << 62)}", r=True)
                super().process(connection, rid, ids)
            case 3:
                connection.reply(rid, r=False)
            case 4 if self._draw.random() < 0.3:
                pass  # never
            case 5:
                connection.reply(rid, r=True, e="Both")
                connection.send(b"\xff{")
                super().process(connection, rid, ids)
            case 6 | 7 | 8 | 9:
                # Later, and so out of order.
                self._held.append((time.monotonic() + self._draw.uniform(0.01, 0.3), rid, ids))
            case _:
                super().process(connection, rid, ids)

    def idle(self, connection: Connection) -> float:
        if self._connection is not connection:
            return 1
        now = time.monotonic()
        due = [held for held in self._held if held[0] <= now or self.is_honest]
        for held in due:
            self._held.remove(held)
            super().process(connection, held[1], held[2])
        return 0.01 if self._held else 1


class LiveReceiver(ReliableReceiver):
    """Takes what comes, from now on."""

    record: LiveRecord

    def __init__(self, record: LiveRecord, ports: list[int], findings: Findings):
        super().__init__(record, ports, findings)
        self.component = "LIVE"

    def serve(self, connection: Connection) -> None:
        self.record.new_connection()
        super().serve(connection)

    def began(self) -> None:
        self.record.new_connection()


class Poller(Receiver):
    """Asks for what follows the last event it has got, and so confirms it."""

    def serve(self, connection: Connection) -> None:
        while not self.is_stopping:
            self.record.answering(self._unconfirmed())
            last = str(self.record.newest) if self.record.newest else None
            rid = connection.request(f"{PUSH}:pollEvents", {"component": self.component, "last_id": last, "want": self.want})
            message = connection.answer(rid, PATIENCE)
            if message is None:
                raise Lost("no answer")
            if "e" in message:
                self.failed(message)
                self.pause(0.1)
                raise Lost(message["e"])
            self.record.arrived(message["r"])
            if not message["r"]:
                self.pause(0.05)

    def _unconfirmed(self) -> list[int]:
        fresh = []
        for _, number in reversed(self.record.arrivals):
            if number in self.record.answered:
                break
            fresh.append(number)
        return fresh


class Subscriber(Receiver):
    """A plain SUB socket; one socket for each connection."""

    record: LiveRecord

    def work(self) -> None:
        socket = new_socket(zmq.SUB)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        for event_type in sorted(self.record.want or {""}):
            socket.setsockopt(zmq.SUBSCRIBE, event_type.encode())
        socket.connect(local(self.next_port()))
        self.record.new_connection()
        # Silence is the only sign of a loss.
        while socket.poll(1000) and not self.is_stopping:
            self.record.arrived([json.loads(socket.recv_multipart()[1])])
        socket.close(0)


class Tail:
    """Reads what `evt tail --component` prints."""

    def __init__(self, record: Record):
        self.record = record

    def read(self, output) -> None:
        """The output of one run of it."""
        for line in output:
            if not line.endswith(b"\n"):
                break  # killed while it printed: not confirmed
            self.record.arrived([json.loads(line)])
