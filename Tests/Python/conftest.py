"""Fixtures of the tests of the Python package. Each module has a stream of its own, with the module's SETTINGS."""

from __future__ import annotations

import asyncio
import itertools
import threading

import psycopg
import pytest

from eventstream import AsyncReceiver, Receiver, add, poll
from Harness.pipeline import Stream
from Harness.waiting import eventually

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stream(request, cluster, binaries, tmp_path_factory):
    stream = Stream(cluster, binaries, tmp_path_factory.mktemp(request.module.__name__), getattr(request.module, "SETTINGS", {}))
    yield stream
    stream.close()


@pytest.fixture
def database(stream):
    """A connection to the database of the stream; each statement is a transaction."""
    with psycopg.connect(stream.database.conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def event_type() -> str:
    """An event type that no other test uses."""
    return "T_" + "".join(chr(ord("A") + int(digit)) for digit in str(next(_numbers)))


@pytest.fixture
def name() -> str:
    """A consumer that no other test uses."""
    return f"c_{next(_numbers)}"


@pytest.fixture
def record(database, event_type):
    """Records events, each in a transaction of its own, and returns their ids."""
    return lambda count, **more: [add(database, event_type, number, **more) for number in range(count)]


@pytest.fixture
def record_settled(stream, record, event_type):
    """The same, and waits until a pusher would deliver them: a session that begins then has them in one group."""
    def record_settled(count: int) -> list[int]:
        ids = record(count)
        eventually(lambda: ids[-1] in [event.id for event in poll("SETTLED", want=event_type, endpoints=stream.pusher.endpoint)],
                   "the events are settled", every=0.01)
        return ids
    return record_settled


class Running:
    """A receiver of either kind at work in a thread, and what became of it."""

    def __init__(self, kind: str, name: str, handler, batches: bool = False, **options):
        self.kind, self.progress, self.error = kind, [], None
        self._arguments = name, handler, batches, {"on_progress": self.progress.append, **options}
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._has_begun.wait()

    def _run(self) -> None:
        try:
            if self.kind == "asyncio":
                asyncio.run(self._work())
            else:
                name, handler, batches, options = self._arguments
                self.receiver = Receiver(name, **options)
                self._has_begun.set()
                self.receiver.run(handler, batches=batches)
        except Exception as error:
            self.error = error
        finally:
            self._has_begun.set()

    async def _work(self) -> None:
        name, handler, batches, options = self._arguments
        self.receiver, self._loop = AsyncReceiver(name, **options), asyncio.get_running_loop()
        self._has_begun.set()
        await self.receiver.run(handler, batches=batches)

    def told(self, what: str) -> int:
        return sum(progress.what == what for progress in self.progress)

    def stop(self) -> None:
        """And waits until it has ended."""
        if self._thread.is_alive():
            if self.kind == "asyncio":
                try:
                    self._loop.call_soon_threadsafe(self.receiver.stop)
                except RuntimeError:
                    pass  # it has ended by itself
            else:
                self.receiver.stop()
        self.ended()

    def ended(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the receiver did not end"


@pytest.fixture(params=["thread", "asyncio"])
def start(request, stream, name):
    """Starts receivers: `start(handler, **options)`."""
    running = []

    def start(handler, batches: bool = False, name: str = name, **options) -> Running:
        running.append(Running(request.param, name, handler, batches, **{
            "endpoints": stream.pusher.endpoint, "session_timeout": float(stream.settings["EVT_SESSION_TIMEOUT"][:-1]), **options}))
        return running[-1]
    yield start
    for each in running:
        each.stop()


@pytest.fixture
def confirmed(stream, name):
    """Waits until everything up to an event is confirmed."""
    return lambda event_id, name=name: eventually(lambda: stream.position(name) >= event_id, f"{event_id} is confirmed", every=0.01)
