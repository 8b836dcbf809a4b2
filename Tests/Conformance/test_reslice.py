"""A consumer is cut into another number of slices while events are recorded and receivers come and die (`evt consumers reslice`)."""

from __future__ import annotations

import random
import subprocess
import threading
from collections import defaultdict

import pytest

from Harness.processes import environment
from Harness.waiting import eventually
from Harness.wire import PUSH, CallError, NoMessage, Peer

# Pushers learn of what an operator says with a sign of life, five in this time.
SETTINGS = {"EVT_SESSION_TIMEOUT": "3s", "EVT_REQUEST_MAX": "8", "EVT_MAX_CHUNK_EVENTS": "20"}

KEYS = 12


def cut(index, of):
    return {"slice": {"index": index, "of": of}} if of > 1 else {}


class Recorder:
    """Records events with a number in each key, until it is stopped."""

    def __init__(self, endpoint: str, event_type: str):
        self.recorded: list[int] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record, args=(endpoint, event_type))
        self._thread.start()

    def _record(self, endpoint: str, event_type: str) -> None:
        source, number = Peer(endpoint), 0
        while not self._stopped.wait(0.002):
            key = number % (KEYS + 1)
            more = {"key": f"key {key}"} if key < KEYS else {}
            self.recorded.append(int(source.add_event(event_type, [key if more else None, number], **more)))
            number += 1
        source.close()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class Worker:
    """A receiver of one slice, which dies at random and begins anew; it ends when its slice is gone. It keeps an inbox."""

    def __init__(self, endpoint: str, component: str, event_type: str, index: int, of: int, processed: list, seed: int):
        self.slice, self.inbox = f"{index}.{of}", set()
        self._arguments = (component, [event_type]), cut(index, of)
        self._endpoint, self._processed, self._random = endpoint, processed, random.Random(seed)
        self.end = threading.Event()
        self.gone = False
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        while not self.end.is_set() and not self.gone:
            peer = Peer(self._endpoint)
            try:
                self._live(peer)
            except NoMessage:
                pass
            finally:
                peer.close()

    def _live(self, peer: Peer) -> None:
        arguments, more = self._arguments
        left = self._random.randrange(20, 200)
        while left > 0 and not self.end.is_set():
            try:
                peer.ready(*arguments, **more)
            except CallError as error:
                assert error.name in ("NotRegistered", "ConsumerBusy", "InvalidRequest"), error
                self.gone = error.name != "ConsumerBusy" and bool(self.inbox)
                if self.gone:
                    return
                self.end.wait(0.1)
                continue
            try:
                group = peer.next_group(timeout=0.3)
            except NoMessage:
                continue
            for event in group.events:
                if event["id"] not in self.inbox:
                    self.inbox.add(event["id"])
                    self._processed.append((self.slice, int(event["id"]), event["data"]))
            left -= 1
            if left > 0:
                peer.accept(group)


@pytest.fixture
def start_workers(stream, component, event_type):
    workers: list[Worker] = []
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")

    def start(of: int, processed: list, pusher=None) -> list[Worker]:
        endpoint = (pusher or stream.pusher).endpoint
        mine = [Worker(endpoint, component, event_type, index, of, processed, seed + index) for index in range(of)]
        workers.extend(mine)
        return mine

    yield start
    for worker in workers:
        worker.end.set()
    for worker in workers:
        worker.thread.join()


@pytest.fixture
def recorder(stream, event_type):
    recorder = Recorder(stream.generator.endpoint, event_type)
    yield recorder
    recorder.stop()


def stored(stream, component, what):
    return stream.database.value(
        f"SELECT {what} FROM evt_consumers WHERE ident = 'local:{component}' OR starts_with(ident, 'local:{component}/')")


def slices(stream, component):
    return int(stored(stream, component, "count(*)"))


def barriers(stream, component):
    return int(stored(stream, component, "count(barrier)"))


def place(stream, component, position):
    """Puts all slices there, as if their receivers had confirmed it."""
    stream.database.value(
        f"WITH u AS (UPDATE evt_consumers SET last_evt_id = {position} WHERE starts_with(ident, 'local:{component}/') RETURNING 1) "
        "SELECT count(*) FROM u")


def test_each_event_comes_to_one_slice_and_the_order_of_each_key_is_kept(
        stream, second, peer, component, recorder, start_workers):
    processed: list = []
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=8, start="now")
    for before, after in ((8, 12), (12, 1), (1, 3)):
        present = start_workers(before, processed, second if before == 12 else None)
        mark = len(processed)
        eventually(lambda: len(processed) > mark + 100, "the slices are served")
        said = stream.evt("consumers", "reslice", component, "--of", str(after), "--timeout", "80s")
        assert f"{after} slices now" in said or after == 1
        assert slices(stream, component) == after
        eventually(lambda: all(worker.gone or not worker.inbox for worker in present), "the old slices are gone")
        for worker in present:
            worker.end.set()
    start_workers(3, processed)
    recorder.stop()
    eventually(lambda: {number for _, number, _ in processed} >= wanted(recorder, processed), "all events were processed")

    ids = [number for _, number, _ in processed]
    assert len(ids) == len(set(ids)), "an event was processed in two slices"
    numbers = defaultdict(list)
    for _, _, (key, number) in processed:
        numbers[key].append(number)
    for key, its in numbers.items():
        assert key is None or its == sorted(its), f"the order of key {key}"


def wanted(recorder, processed):
    """What was recorded since the consumer was registered: from the first event that came on."""
    first = min(number for _, number, _ in processed)
    return {number for number in recorder.recorded if number >= first}


def test_a_timeout_leaves_the_slices_there_are(stream, source, peer, component, event_type):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2, start="now")
    event_id = source.add_event(event_type, key="k")
    said = stream.evt("consumers", "reslice", component, "--of", "3", "--timeout", "4s", check=False)
    assert "keeps the slices" in said and f"local:{component}/0.2 (no receiver)" in said, said
    assert slices(stream, component) == 2 and barriers(stream, component) == 0
    received = []
    for index in range(2):
        assert peer.call(f"{PUSH}:readyToReceive", component=component, want=[event_type], **cut(index, 2)) is True
        received += [event["id"] for group in peer.groups_within(1) for event in group.events]
        peer.call(f"{PUSH}:stopReceiving", component=component, **cut(index, 2))
    assert received == [event_id]


def test_what_was_interrupted_goes_on_or_is_canceled(stream, source, peer, component, event_type):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2, start="now")
    source.add_event(event_type)
    command = [str(stream.programs / "evt"), "consumers", "reslice", component, "--of", "4"]
    for rest in (["--cancel"], []):
        interrupted = subprocess.Popen(command, env=environment(stream.settings), stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: barriers(stream, component), "the barrier is set")
        finally:
            interrupted.kill()
            interrupted.wait()
        if rest:
            assert "goes on" in stream.evt("consumers", "reslice", component, *rest)
            assert barriers(stream, component) == 0
    place(stream, component, "(SELECT max(id) FROM evt_queue)")
    assert "4 slices now" in stream.evt("consumers", "reslice", component, "--of", "4")
    assert "not being cut" in stream.evt("consumers", "reslice", component, "--cancel", check=False)


def test_an_open_transaction_is_waited_for_and_may_roll_back(stream, source, peer, sql, component, event_type):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2, start="now")
    event_id = source.add_event(event_type)
    place(stream, component, event_id)
    writer = sql()
    writer.run("BEGIN")
    writer.run(f"SELECT evt_add('{event_type}', '1')")
    said = stream.evt("consumers", "reslice", component, "--of", "3", "--timeout", "4s", check=False)
    assert "keeps the slices" in said, said
    writer.run("ROLLBACK")
    # The barrier is an id that no event has.
    assert f"after event {event_id}:" in stream.evt("consumers", "reslice", component, "--of", "3", "--timeout", "60s")


def test_parked_events_are_waited_for(stream, source, peer, component, event_type):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2, start="now")
    event_id = source.add_event(event_type)
    place(stream, component, event_id)
    stream.database.value(f"""WITH p AS (
        INSERT INTO evt_parked (consumer, generation, id, type, data, ts, attempts, error)
        SELECT c.id, (SELECT generation FROM evt_queue_state), e.id, e.type, e.data, e.ts, 1, 'cannot'
        FROM evt_queue e, evt_consumers c WHERE c.ident = 'local:{component}/0.2' AND e.id = {event_id} RETURNING 1)
        SELECT count(*) FROM p""")
    for force in ([], ["--force"]):
        said = stream.evt("consumers", "reslice", component, "--of", "3", "--timeout", "4s", *force, check=False)
        assert "parked" in said and slices(stream, component) == 2, said
    stream.evt("parked", "drop", component, "--all", "--yes")
    assert "3 slices now" in stream.evt("consumers", "reslice", component, "--of", "3", "--timeout", "60s")


def test_a_session_that_an_operator_has_ended_gets_nothing_beyond_the_barrier(
        stream, source, peer, connect, component, event_type):
    peer.register(component)
    old, new = connect(stream.pusher.endpoint), connect(stream.pusher.endpoint)
    assert old.ready(component, [event_type]) is True
    first = source.add_event(event_type)
    assert old.receive_until(first)[-1] == first
    eventually(lambda: stream.position(component) >= int(first), "the position is stored")
    # The pusher learns of this with its next sign of life.
    stream.evt("consumers", "set", component, "--max-attempts", "5")
    assert "2 slices now" in stream.evt("consumers", "reslice", component, "--of", "2", "--timeout", "60s")
    second = source.add_event(event_type)
    received = []
    for index in range(2):
        assert new.ready(component, [event_type], **cut(index, 2)) is True
        received += [event["id"] for group in new.groups_within(1) for event in group.events]
        new.call(f"{PUSH}:stopReceiving", component=component, **cut(index, 2))
    assert received == [second] and old.groups_within(0.5) == []


def test_a_slice_is_neither_removed_nor_renamed_alone(stream, peer, component):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2)
    for arguments in (["remove", f"{component}/0.2"], ["rename", f"{component}/0.2", f"{component}_b"]):
        assert "slices are registered" in stream.evt("consumers", *arguments, check=False)
    assert slices(stream, component) == 2
    stream.evt("consumers", "remove", component)
    assert slices(stream, component) == 0


def test_by_force_the_new_slices_begin_at_the_lowest_position(stream, source, peer, component, event_type):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2, start="first")
    ids = [int(source.add_event(event_type, number)) for number in range(4)]
    for index, position in enumerate((ids[1], ids[3])):
        stream.database.value(
            f"UPDATE evt_consumers SET last_evt_id = {position}, want = '{{{event_type}}}', max_attempts = 7 "
            f"WHERE ident = 'local:{component}/{index}.2' RETURNING 1")
    assert f"after event {ids[1]}:" in stream.evt("consumers", "reslice", component, "--of", "5", "--force")
    assert slices(stream, component) == 5
    assert stored(stream, component, "array_agg(DISTINCT last_evt_id)") == f"{{{ids[1]}}}"
    assert stored(stream, component, "array_agg(DISTINCT max_attempts)") == "{7}"


@pytest.mark.parametrize("arguments", [
    ["--of", "0"], ["--of", "257"], ["--of", "2"], [], ["--of", "3", "--cancel"], ["--force", "--cancel"], ["--of", "x"]])
def test_what_makes_no_sense_is_refused(stream, peer, component, arguments):
    peer.call(f"{PUSH}:registerConsumer", component=component, slices=2)
    stream.evt("consumers", "reslice", component, *arguments, check=False)
    assert slices(stream, component) == 2 and barriers(stream, component) == 0
    assert "no consumer" in stream.evt("consumers", "reslice", f"{component}_2", "--of", "3", check=False)
