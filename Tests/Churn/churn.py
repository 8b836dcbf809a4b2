"""Connections that come and go by the hundred thousand: memory and descriptors must not grow.

Run it with etc/scripts/churn, which starts a PostgreSQL cluster of its own and sets EVT_TEST_POSTGRES (a superuser's
connection string) and EVT_TEST_BIN (the directory of the built programs). Prints a table, and ends with status 1 if
something grew.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import guests
from Harness.database import Cluster, Database
from Harness.pipeline import Stream
from Harness.processes import Process
from Harness.waiting import eventually
from Harness.wire import CallError, Peer

WORKERS = 3
CROWD = 40
LAPS = 10
SETTINGS = {
    # What may fill up does so at once, and is not taken for growth.
    "EVT_WINDOW_BYTES": str(1 << 20), "EVT_SESSION_TIMEOUT": "2s", "EVT_DISCARD_POLL_PERIOD": "100ms",
}
PLACES = 8
"""So many crowds never meet: each has consumers of its own."""


class Watched:
    """A process, and what it holds."""

    def __init__(self, process: Process):
        self.name, self._process = process.name, process
        self.memory: list[float] = []
        """Megabytes: at first, and after each lap."""
        self.descriptors: list[int] = []

    def measure(self) -> str:
        """Measures once those who have left are gone here, too."""
        if self.descriptors:
            with suppress(AssertionError):  # The first timer takes one for good, say; the figures show it.
                eventually(lambda: self._process.descriptors() <= max(self.descriptors), "no more descriptors than before", 5)
        self.memory.append(self._process.memory())
        self.descriptors.append(self._process.descriptors())
        return f"{self.name} {self.memory[-1]:.1f} MB {self.descriptors[-1]} fds"

    def grown(self) -> list[str]:
        """What has grown in the second half; by then what is kept to be used again has found its size."""
        found = []
        half = LAPS // 2
        if self.descriptors[-1] > max(self.descriptors[:half + 1]):
            found.append(f"{self.name}: {self.descriptors[half]} descriptors became {self.descriptors[-1]}")
        if self.memory[-1] > self.memory[half] * 1.1 + 1:
            found.append(f"{self.name}: {self.memory[half]:.1f} MB became {self.memory[-1]:.1f} MB")
        return found


def laps(title: str, total: int, processes: list[Process], lap: Callable[[int], None]) -> list[str]:
    """Runs the laps and prints what each leaves; returns what has grown."""
    watched = [Watched(process) for process in processes]
    size = total // LAPS
    print(f"\n{title}\n{0:>8}  {'; '.join(each.measure() for each in watched)}", flush=True)
    for number in range(1, LAPS + 1):
        begun = time.monotonic()
        lap(size)
        took = time.monotonic() - begun
        print(f"{number * size:>8}  {'; '.join(each.measure() for each in watched)}; {took:.0f} s", flush=True)
    return [f"{title}: {what}" for each in watched for what in each.grown()]


def visit(kinds: list, endpoints: tuple[str, str, str], number: int) -> None:
    """One crowd, in one of the worker processes."""
    def place(index: int) -> guests.Place:
        want = [None, ["CHURN"], ["OTHER", "CHURN"]][(number + index) % 3]
        return guests.Place(*endpoints, f"c_{number % PLACES}_{index}", want)

    guests.crowd([kinds[(number + index) % len(kinds)](place(index)) for index in range(CROWD)])


@contextmanager
def recording(generator: str):
    """Events are recorded all the while."""
    end = threading.Event()

    def record() -> None:
        source = Peer(generator)
        for number in itertools.count():
            if end.is_set():
                return source.close()
            try:
                source.add_event("CHURN" if number % 8 else "OTHER", {"number": number, "text": "x" * (number % 200)})
            except CallError as error:
                assert error.name == "InternalError", f"refused with {error}"
            time.sleep(0.002)

    recorder = threading.Thread(target=record)
    recorder.start()
    try:
        yield
    finally:
        end.set()
        recorder.join()


def visitors(workers: ProcessPoolExecutor, kinds: list, stream: Stream, extra: list):
    """A lap of crowds, and one of the extra kind."""
    endpoints = (stream.generator.endpoint, stream.pusher.endpoint, stream.pusher.live)
    numbers = itertools.count()

    def lap(size: int) -> None:
        crowds = [kinds] * (size // CROWD - 1) + [extra]
        for done in [workers.submit(visit, each, endpoints, next(numbers)) for each in crowds]:
            done.result()
    return lap


def terminations(stream: Stream, warehouse: Database):
    """A lap of ending every connection of ours, over and over; each time the processes must connect again."""
    ours = (f"FROM pg_stat_activity WHERE datname IN ('{stream.database.name}', '{warehouse.name}') "
            "AND application_name LIKE 'evt-%'")
    admin = stream.database.open_session()

    def present() -> set[str]:
        return set(admin.values(f"SELECT application_name {ours}"))

    # The discarder learns that its connection is gone when it next needs it; it is not waited for.
    everyone = {"evt-generator", "evt-pusher", "evt-pusher head", "evt-pusher catch-up", "evt-archiver"}
    eventually(lambda: everyone <= present() and stream.position("ARCHIVER") > 0, "every process is at work")

    def lap(size: int) -> None:
        for _ in range(size):
            admin.run(f"SELECT count(pg_terminate_backend(pid)) {ours}")
            eventually(lambda: everyone <= present(), "every process connects again", 60)
    return lap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100_000,
                        help="with the pusher, and as many with the generator; with fewer than 2000 processes have not warmed up")
    parser.add_argument("--terminations", type=int, default=2000, help="ends of all our connections to PostgreSQL; at least 10")
    options = parser.parse_args()

    workers = ProcessPoolExecutor(WORKERS)
    # They begin before there are threads here.
    for started in [workers.submit(time.sleep, 0.2) for _ in range(WORKERS)]:
        started.result()
    cluster = Cluster(os.environ["EVT_TEST_POSTGRES"])
    warehouse = cluster.create_database()
    logs = Path(tempfile.mkdtemp(prefix="evt-churn-"))
    stream = Stream(cluster, Path(os.environ["EVT_TEST_BIN"]), logs, {
        **SETTINGS, "EVT_ARCHIVE_URL": warehouse.conninfo, "EVT_DISCARD_REQUIRE": "ARCHIVER"})
    servers = [stream.generator.process, stream.pusher.process]
    grown: list[str] = []
    try:
        admin = Peer(stream.pusher.endpoint)
        for crowd, index in itertools.product(range(PLACES), range(CROWD)):
            admin.register(f"c_{crowd}_{index}")
        admin.close()
        with recording(stream.generator.endpoint):
            if options.sessions:
                grown += laps("sessions with the pusher", options.sessions, servers,
                              visitors(workers, guests.PUSHER, stream, [guests.overstays]))
                grown += laps("events from connections of their own", options.sessions, servers,
                              visitors(workers, guests.GENERATOR, stream, guests.GENERATOR))
            if options.terminations:
                servers += [stream.start("evt-archiver", EVT_PUSHER_CONNECT=stream.pusher.endpoint),
                            stream.start("evt-discarder")]
                grown += laps("connections to PostgreSQL ended by it, all of them each time", options.terminations, servers,
                              terminations(stream, warehouse))
        stream.check_alive("in the end")
    except BaseException:
        print(stream.log_tails(), file=sys.stderr)
        raise
    finally:
        workers.shutdown(cancel_futures=True)
        stream.close()
        warehouse.drop()
        cluster.close()
    for each in grown:
        print(f"GREW: {each}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
