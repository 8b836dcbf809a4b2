"""What a pusher does for events, counted: its statements by the server's log, its system calls by strace, and WAL."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from Harness.database import Cluster
from Harness.pipeline import Stream, login
from Harness.postgres import Server
from Harness.processes import Process
from Harness.waiting import eventually
from Harness.wire import Peer

EVENTS = 10_000
_CONSUMER = "COUNTED"
_STATEMENT = re.compile(r"LOG:  execute (\w+)")
_BY_THE_CLOCK = {"evt_beat", "evt_keep_sequence", "evt_sizes"}
_CALL = re.compile(r"^(\d+) +(\w+)\((\d*)", re.M)
_STORE = re.compile(r"sendto\((\d+), .*evt_store")
_WAITING, _SENDING, _RECEIVING = {"ppoll", "epoll_wait"}, {"sendto", "write"}, {"recvfrom", "read"}


def _count(statements: Counter) -> int:
    return sum(count for name, count in statements.items() if name not in _BY_THE_CLOCK)


def _without_the_clock(trace: str) -> int:
    """System calls of those rounds of the threads' loops in which something moves, but for what moves over the connection that stores
    positions: that happens as often as time permits."""
    storing = set(_STORE.findall(trace))
    total, rounds = 0, {}
    for thread, name, descriptor in _CALL.findall(trace):
        calls = rounds.setdefault(thread, [])
        calls.append(name in _SENDING | _RECEIVING and descriptor not in storing)
        if name in _WAITING:
            total += len(calls) if any(calls) else 0
            calls.clear()
    return total


class CountedStream(Stream):
    """A stream whose pusher is watched, with one receiver."""

    def __init__(self, server: Server, programs: Path, directory: Path):
        self._log, self._trace = server.log, directory / "system-calls"
        # The pusher must not slow down because other processes are busy.
        super().__init__(Cluster(f"host=127.0.0.1 port={server.port} user=postgres"), programs, directory, {"EVT_HEAD_SHARE": "100"})
        self._receiver = Peer(self.pusher.endpoint)
        self._receiver.register(_CONSUMER)
        self._receiver.ready(_CONSUMER)

    def process(self, program: str, log: str, **settings: str) -> Process:
        under = []
        if program == "evt-pusher":
            self.database.values(f"ALTER ROLE {login('pusher')} SET log_statement = 'all'")
            # As a grandchild (-D) strace leaves the pusher our child.
            under = ["strace", "-D", "-f", "-qq", "-o", self._trace]
        return Process([*under, self.programs / program], {**self.settings, **settings}, self.directory / log, program)

    def close(self) -> None:
        self._receiver.close()
        super().close()

    def one_event(self) -> dict[str, float]:
        """What a single event takes, while the pusher sleeps before and after."""
        statements, trace, wal = self._pass_on(1)
        # Where a step takes long, sizes are looked at in each.
        sent = sum(name in _SENDING for _, name, _ in _CALL.findall(trace)) - statements["evt_sizes"]
        return {"statements": _count(statements), "sending system calls": sent, "WAL bytes": wal}

    def many_events(self) -> dict[str, float]:
        """What a thousand of many events take, which one transaction has recorded."""
        statements, trace, wal = self._pass_on(EVENTS)
        del statements["evt_store"]
        figures = {"statements": _count(statements), "system calls": _without_the_clock(trace), "WAL bytes": wal}
        return {name: figure * 1000 / EVENTS for name, figure in figures.items()}

    def _pass_on(self, events: int) -> tuple[Counter, str, int]:
        """Records events, and returns what has happened when they are confirmed and the pusher sleeps again."""
        log, trace, wal = self._log.stat().st_size, self._trace.stat().st_size, self._wal()
        record = "evt_add('ALPHA', json_build_object('order', n, 'note', repeat('x', 120)))"
        last = int(self.database.value(f"SELECT max({record}) FROM generate_series(1, {events}) n"))
        assert int(self._receiver.receive_events(events)[-1]["id"]) == last
        eventually(lambda: self.position(_CONSUMER) == last and self._sleeps(), "the pusher sleeps again", every=0.01)
        return Counter(_STATEMENT.findall(_read(self._log, log))), _read(self._trace, trace), self._wal() - wal

    def _sleeps(self) -> bool:
        return self.database.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1163285587 AND mode = 'ExclusiveLock'") == "1"

    def _wal(self) -> int:
        return int(self.database.value("SELECT pg_current_wal_insert_lsn() - '0/0'"))


def _read(file: Path, after: int) -> str:
    with file.open() as lines:
        lines.seek(after)
        return lines.read()
