"""Receivers of both kinds, against a pusher and a database."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from eventstream import AsyncReceiver, EventStreamError, Json, Receiver, add, live, poll
from eventstream._engine import Engine
from Harness.processes import Process
from Harness.waiting import eventually

# One event a group, if its data is as long as that; a pause that is short.
SETTINGS = {"EVT_GROUP_BYTES": "1024", "EVT_SESSION_TIMEOUT": "2s"}
LONG = "x" * 1000


def test_events_come_in_order_with_all_there_is_of_them(database, event_type, start, confirmed):
    ids = [add(database, event_type, {"n": n}, key=f"k{n}", meta={"user": n}) for n in range(3)]
    ids.append(add(database, event_type, Json('{"amount": 12.50, "big": 12345678901234567890}')))
    events = []
    start(events.append, want=event_type)
    confirmed(ids[-1])
    assert [event.id for event in events] == ids
    assert [(event.type, event.data, event.key, event.meta) for event in events[:3]] == [
        (event_type, {"n": n}, f"k{n}", {"user": n}) for n in range(3)]
    assert events[3].json == '{"amount": 12.50, "big": 12345678901234567890}' and events[3].key is events[3].meta is None
    age = time.time() - events[0].time.timestamp()
    assert 0 <= age < 60 and all(one.time < other.time for one, other in zip(events, events[1:]))


def test_what_fails_comes_again_and_nothing_is_lost_or_comes_before(database, event_type, start, confirmed):
    ids = [add(database, event_type, [n, LONG]) for n in range(9)]
    failing, processed = {ids[0], ids[4], ids[5], ids[8]}, []

    def handler(event):
        if event.id in failing:
            failing.remove(event.id)
            raise ValueError("poison")
        processed.append(event.id)

    running = start(handler, want=event_type)
    confirmed(ids[-1])
    assert processed == ids
    assert running.told("rejected") == 4 and sum(each.count for each in running.progress if each.what == "confirmed") == 9


def test_a_batch_that_fails_comes_event_by_event(record_settled, event_type, start, confirmed):
    ids = record_settled(10)
    batches, failures = [], []

    def handler(batch):
        batches.append([event.id for event in batch])
        if ids[8] in batches[-1] and len(failures) < 3:
            failures.append(batch)
            raise ValueError("poison")

    start(handler, batches=True, want=event_type)
    confirmed(ids[-1])
    assert batches[0] == ids, "they are in one group"
    assert batches[1:10] == [[each] for each in ids[:9]]
    assert [len(batch) for batch in failures] == [10, 1, 1] and batches[-1] == ids[-1:]


def test_handlers_of_coroutines(record, event_type, stream, name):
    ids, found = record(5), []

    async def handler(event):
        await asyncio.sleep(0)
        found.append(event.id)
        if event.id == ids[-1]:
            receiver.stop()

    receiver = AsyncReceiver(name, want=event_type, endpoints=stream.pusher.endpoint)
    asyncio.run(receiver.run(handler))
    assert found == ids and stream.position(name) == ids[-1]


def test_loops_over_batches(record_settled, event_type, stream, name):
    ids, found = record_settled(5), []
    with Receiver(name, want=event_type, endpoints=stream.pusher.endpoint) as receiver:
        for batch in receiver:
            found.append([event.id for event in batch])
            if len(found) == 1:
                batch.confirm(through=batch.events[1])
                with pytest.raises(ValueError, match="is confirmed"):
                    batch.reject(batch.events[0])
                batch.reject(batch.events[2], ValueError("why"))
            elif len(found) == 2:
                continue  # not confirmed: as if it had failed, event by event
            else:
                batch.confirm()
            if len(found) > 2 and batch.events[-1].id == ids[-1]:
                break
    assert found[:3] == [ids, ids[2:], ids[2:3]] and [each for batch in found[2:] for each in batch] == ids[2:]
    assert next(receiver, None) is None, "a receiver is used once"
    assert stream.position(name) == ids[-1], "the position is stored when the session has ended"

    async def main():
        async with AsyncReceiver(f"{name}_a", want=[event_type], max_batch=2, endpoints=[stream.pusher.endpoint]) as receiver:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(silent(receiver), 0.2)
            async for batch in receiver:
                found.append([event.id for event in batch])
                batch.confirm()
                if batch.events[-1].id == ids[-1]:
                    break

    async def silent(receiver):
        """A wait that is cancelled loses nothing."""
        while True:
            batch = await receiver._next()
            batch.owner.release(batch)
            await asyncio.sleep(0.3)

    found.clear()
    asyncio.run(main())
    assert found == [ids[0:2], ids[2:4], ids[4:]] and stream.position(f"{name}_a") == ids[-1]


def test_the_session_is_kept_while_the_handler_works(database, record, event_type, start, name, confirmed):
    ids, gate, found = record(2), threading.Event(), []

    def handler(event):
        found.append(event.id)
        gate.wait(60)

    async def patient(event):
        found.append(event.id)
        while not gate.is_set():
            await asyncio.sleep(0.01)

    running = start(lambda event: (patient if running.kind == "asyncio" else handler)(event), want=event_type)
    eventually(lambda: found, "work")
    session = f"SELECT session_owner, session_epoch FROM evt_consumers WHERE ident = 'local:{name}'"
    before = database.execute(session).fetchone()
    # Five of these are a timeout.
    beat = "SELECT max(beat) FROM evt_queue_pushers"
    first = database.execute(beat).fetchone()[0]
    eventually(lambda: database.execute(beat).fetchone()[0] > first + 6, "more than a timeout has passed")
    assert database.execute(session).fetchone() == before and before[0] is not None
    gate.set()
    confirmed(ids[-1])
    assert found == ids and running.told("ready") == 1


def test_a_second_receiver_stands_by_and_takes_over_at_once(record, event_type, start, confirmed):
    first, second = [], []
    one = start(first.append, want=event_type)
    confirmed(record(3)[-1])
    other = start(second.append, want=event_type)
    eventually(lambda: other.told("busy"), "the second stands by")
    assert not second
    one.stop()
    ids = record(3)
    confirmed(ids[-1])
    assert [event.id for event in second] == ids and len(first) == 3


def test_a_pusher_that_is_killed_is_left_for_the_next(stream, record, event_type, start, confirmed):
    events, pusher = [], stream.start_pusher()
    running = start(events.append, want=event_type, endpoints=[pusher.endpoint, stream.pusher.endpoint])
    ids = record(5)
    confirmed(ids[-1])
    pusher.process.kill()
    ids += record(5)
    confirmed(ids[-1])
    assert [event.id for event in events] == ids
    assert running.told("error") and {each.endpoint for each in running.progress if each.what == "ready"} == {
        pusher.endpoint, stream.pusher.endpoint}


def test_what_does_not_pass_is_raised(stream, start, name):
    first = start(print, slices=4)
    eventually(lambda: first.told("ready"), "the first receiver")
    first.stop()
    refused = start(print, slices=5)
    refused.ended()
    assert isinstance(refused.error, EventStreamError) and refused.error.code == "InvalidRequest"
    unregistered = start(print, name=f"{name}_no", register=False)
    unregistered.ended()
    assert unregistered.error.code == "NotRegistered" and not unregistered.error.retriable


def test_a_new_generation_is_told_and_what_was_processed_counts_no_more(stream, record, event_type, start, confirmed):
    batches = []
    running = start(batches.append, batches=True, want=event_type)
    ids = record(3)
    confirmed(ids[-1])
    stream.evt("generation", "--renew")
    eventually(lambda: running.told("generation"), "the new generation")
    more = record(3)
    confirmed(more[-1])
    assert [event.id for batch in batches for event in batch] == ids + more
    assert batches[0].origin.stream == batches[-1].origin.stream and batches[0].origin.generation != batches[-1].origin.generation


def test_an_event_that_python_cannot_parse_fails_alone(database, record, event_type, start, confirmed, stream, name):
    first = record(1)[0]
    deep = "[" * 3000 + "]" * 3000
    ids = [add(database, event_type, Json(deep)), *record(1)]
    found = []

    def handler(event):
        try:
            found.append((event.id, event.data))
        except RecursionError:
            found.append((event.id, event.json))
    start(handler, want=event_type)
    confirmed(ids[-1])
    assert found == [(first, 0), (ids[0], deep), (ids[1], 0)]


def test_start_says_where_a_new_consumer_begins(record, event_type, start, confirmed, name):
    ids, events = record(4), []
    start(events.append, want=event_type, start=ids[1])
    confirmed(ids[-1])
    assert [event.id for event in events] == ids[2:]


def test_polling_brings_what_waits_and_confirms_it(stream, record, event_type, name):
    ids = record(250)
    waiting = poll(name, want=[event_type], endpoints=stream.pusher.endpoint)
    found = [next(waiting).id for _ in range(150)]
    waiting.close()
    found = found[:100] + [event.id for event in poll(name, want=event_type, endpoints=stream.pusher.endpoint)]
    assert found == ids
    assert list(poll(name, want=event_type, endpoints=stream.pusher.endpoint)) == []
    stream.evt("consumers", "pause", name)
    with pytest.raises(EventStreamError, match="ConsumerPaused"):
        eventually(lambda: list(poll(name, endpoints=stream.pusher.endpoint)), "the pause")
    with pytest.raises(EventStreamError, match="CommError: nobody answers"):
        list(poll(name, endpoints="tcp://127.0.0.1:1", timeout=0.2))


def test_live_events_come_while_somebody_listens(stream, record, event_type):
    found = []

    def listen():
        for event in live([event_type, "U_*"], endpoints=stream.pusher.live):
            found.append(event)
            return

    async def listen_too():
        async for event in live(f"{event_type[:-1]}*", endpoints=stream.pusher.live):
            found.append(event)
            return

    for listener in (threading.Thread(target=listen), threading.Thread(target=lambda: asyncio.run(listen_too()))):
        listener.start()
        eventually(lambda: record(1) and not listener.is_alive(), "a live event")
    assert [event.type for event in found] == [event_type] * 2 and found[0].data == 0


def test_sigterm_ends_the_work_in_order(stream, record, event_type, name, tmp_path):
    program = """
import signal, sys, time
from eventstream import Receiver
receiver = Receiver(sys.argv[1], want=sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
def handler(event):
    print("begins", event.id, flush=True)
    time.sleep(0.02)
    print("ends", event.id, flush=True)
receiver.run(handler)
print("over", flush=True)
"""
    # Some groups.
    ids = [each for _ in range(3) for each in record(60)]
    process = Process([sys.executable, "-c", program, name, event_type], {"EVT_PUSHER_CONNECT": stream.pusher.endpoint},
                      tmp_path / "log").start()
    eventually(lambda: f"ends {ids[3]}" in process.said(), "work", every=0.01)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    lines = process.said().splitlines()
    ended = [int(line.split()[1]) for line in lines if line.startswith("ends")]
    assert lines[-1] == "over" and len(ended) < len(ids) and sum(line.startswith("begins") for line in lines) == len(ended)
    assert stream.position(name) == ended[-1], "what was processed is confirmed, and does not come again"


def test_nothing_is_left_open(stream, record, event_type):
    record(1)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def use(count: int) -> None:
        for _ in range(count):
            with Receiver("LEFT", want=event_type, endpoints=stream.pusher.endpoint) as receiver:
                next(receiver)
            Receiver("LEFT", endpoints=stream.pusher.endpoint).close()
    use(2)
    before, threads = descriptors(), threading.active_count()
    use(5)
    assert eventually(lambda: descriptors() <= before, "descriptors are closed") and threading.active_count() <= threads


@pytest.mark.parametrize("wrong", [
    {"name": "LIVE"}, {"name": "a b"}, {"name": "x" * 17}, {"want": []}, {"slices": 1}, {"slices": 257}, {"at_most": 2}, {"slice": 1},
    {"slices": 4, "slice": 4}, {"slices": 4, "at_most": 0}, {"max_batch": 0}, {"endpoints": "localhost"}, {"endpoints": []},
    {"server_key": "x" * 40}, {"curve_key": "/nowhere"}, {"session_timeout": 0}])
def test_what_cannot_be_is_said_at_once(wrong):
    with pytest.raises(ValueError):
        Receiver(**{"name": "A", **wrong})


def test_environment_and_endpoints(monkeypatch):
    monkeypatch.setenv("EVT_PUSHER_CONNECT", "tcp://a:1, tcp://b:2")
    opened = []
    monkeypatch.setattr(Engine, "__init__", lambda self, options, *rest: opened.append(options.endpoints))
    Receiver("A")
    Receiver("A", endpoints="ipc:///x")
    monkeypatch.delenv("EVT_PUSHER_CONNECT")
    Receiver("A")
    assert opened == [("tcp://a:1", "tcp://b:2"), ("ipc:///x",), ("tcp://127.0.0.1:5571",)]
