"""Receivers that share the slices of a consumer."""

from __future__ import annotations

import hashlib
import itertools
import signal
import sys

from eventstream import Receiver, add
from Harness.processes import Process
from Harness.waiting import eventually

WORKER = """
import sys
from eventstream import Receiver
Receiver(sys.argv[1], want=sys.argv[2], slices=4, at_most=4).run(lambda event: print(event.id, event.key, flush=True))
"""


def in_order_of_keys(events) -> None:
    for key, found in itertools.groupby(sorted(events, key=lambda event: event.key), key=lambda event: event.key):
        ids = [event.id for event in found]
        assert ids == sorted(set(ids)), f"the events of {key} came as {ids}"


def slice_of(key: str, count: int) -> int:
    """As the protocol has it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count


def serving(*running) -> int:
    """How many sessions there are, as the receivers tell."""
    return sum(each.told("ready") for each in running)


def test_two_receivers_share_the_slices_and_one_takes_over_those_of_the_other(stream, database, event_type, start, name):
    events, numbers = ([], []), []

    def handler(of):
        return lambda batch: (of.extend(batch.events), numbers.append(batch.slice))

    one = start(handler(events[0]), batches=True, want=event_type, slices=4, at_most=2)
    other = start(handler(events[1]), batches=True, want=event_type, slices=4, at_most=3)
    eventually(lambda: serving(one, other) == 4, "each slice is served")
    ids = [add(database, event_type, n, key=f"k{n % 16}") for n in range(100)]
    eventually(lambda: len(events[0]) + len(events[1]) == 100, "all events")
    assert events[0] and events[1]
    for found in events:
        in_order_of_keys(found)
    assert not {event.key for event in events[0]} & {event.key for event in events[1]}
    assert set(numbers) == {0, 1, 2, 3}

    found = events[1]
    one.stop()
    ids += [add(database, event_type, n, key=f"k{n % 16}") for n in range(100)]
    # It may take three: one of four is left.
    eventually(lambda: serving(other) >= 3, "the other takes over")
    late, rest = [], start(lambda batch: late.extend(batch.events), batches=True, want=event_type, slices=4)
    eventually(lambda: len(events[0]) + len(found) + len(late) == 200, "all events")
    assert serving(rest) == 1
    assert sorted(event.id for each in (*events, late) for event in each) == ids
    for each in (found, late):
        in_order_of_keys(each)


def test_a_worker_that_is_killed_is_replaced(stream, database, event_type, name, tmp_path):
    settings = {"EVT_PUSHER_CONNECT": stream.pusher.endpoint}
    workers = [Process([sys.executable, "-c", WORKER, name, event_type], settings, tmp_path / f"{n}.log").start() for n in range(2)]
    ids, count = [], itertools.count()

    def record():
        ids.extend(add(database, event_type, n, key=f"k{n % 16}") for n in itertools.islice(count, 40))

    def processed() -> list[int]:
        return [int(line.split()[0]) for worker in workers for line in worker.said().splitlines() if line.split()[0].isdigit()]

    record()
    eventually(lambda: set(processed()) == set(ids), "all events")
    for worker in workers:
        record()
        worker.kill()
        eventually(lambda: set(processed()) == set(ids) or worker is workers[-1], "the other takes over")
    workers[0].start()
    eventually(lambda: set(processed()) == set(ids), "all events")
    workers[0].signal(signal.SIGKILL)
    workers[0].wait()


def test_a_receiver_may_serve_one_slice_only(stream, database, event_type, name):
    ids = [add(database, event_type, n, key=f"k{n}") for n in range(40)]
    found = {index: [] for index in range(4)}
    receivers = [Receiver(name, want=event_type, slices=4, slice=index, endpoints=stream.pusher.endpoint) for index in found]
    wanted = {index: sum(slice_of(f"k{n}", 4) == index for n in range(40)) for index in found}
    for index, receiver in enumerate(receivers):
        with receiver:
            while len(found[index]) < wanted[index]:
                batch = next(receiver)
                batch.confirm()
                assert batch.slice == index
                found[index] += batch.events
    assert sorted(event.id for each in found.values() for event in each) == ids and all(found.values())
