"""The machine of a receiver, without I/O: every input in every state, all orders of a few groups, and whole lives at random."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from simulated import World

from eventstream import Event, EventStreamError
from eventstream._events import Source
from eventstream._order import DONE, Order
from eventstream._session import Close, Open, Options, Progress, Send, Session, Slices, State
from eventstream._wire import OnEvents

ENDPOINTS = ("tcp://a:1", "tcp://b:1")
ORIGIN = {"stream": "s", "generation": "g", "start": None, "after": None, "common": None}


def group(seq: int, *ids: int, session: int | None = 1, rid: str = "", parked: bool = False) -> OnEvents:
    events = tuple(Event(each, "A", "2026-11-24T08:30:00Z", "null", source=Source(parked=parked)) for each in ids)
    return OnEvents(rid or f"S{seq}", seq, events, session, parked)


# Order


@pytest.mark.parametrize("session", [1, None])
def test_whatever_order_groups_come_in_events_go_out_in_theirs(session):
    for order in itertools.permutations(range(4)):
        for again in itertools.product((False, True), repeat=4):
            if session is None and list(order) != sorted(order):
                continue  # without a number of the session, a group that was left out tells of a new one
            found, machine = [], Order(max_batch=3)
            for seq in order:
                for _ in range(1 + again[seq]):
                    machine.arrived(group(seq, 2 * seq + 1, 2 * seq + 2, session=session))
            while batch := machine.take():
                found += [event.id for event in batch.events]
                machine.confirm(batch, len(batch))
            assert found == list(range(1, 9))
            assert {rid for rid, outcome in machine.answers} == {"S0", "S1", "S2", "S3"}
            assert all(outcome is DONE for _, outcome in machine.answers)


def test_nothing_is_answered_before_it_is_processed():
    machine = Order()
    machine.arrived(group(0, 1, 2))
    machine.arrived(group(1, 3, 4))
    batch = machine.take()
    assert [event.id for event in batch.events] == [1, 2, 3, 4] and batch.ends == (2, 4)
    machine.confirm(batch, 1)
    assert machine.answers == []
    machine.confirm(batch, 3)
    assert machine.answers == [("S0", DONE)] and machine.take() is None
    machine.confirm(batch, 4)
    assert machine.answers == [("S0", DONE), ("S1", DONE)]


def test_an_event_that_failed_comes_before_what_follows():
    machine = Order()
    machine.arrived(group(0, 1, 2, 3))
    machine.arrived(group(1, 4))
    machine.reject(machine.take(), 1, "why")
    assert machine.answers == [("S0", {"r": {"through": "1", "failed": "2", "error": "why"}})]
    assert machine.take() is None
    machine.arrived(group(0, 2, 3, rid="S9"))
    batch = machine.take()
    assert [event.id for event in batch.events] == [2, 3, 4]


def test_a_batch_that_failed_as_a_whole_comes_event_by_event():
    machine = Order()
    machine.arrived(group(0, 1, 2, 3))
    machine.give_back(machine.take(), 1, "why")
    assert machine.answers == []
    batch = machine.take()
    assert [event.id for event in batch.events] == [2]
    machine.give_back(batch, 0, "why")
    assert machine.answers == [("S0", {"r": {"through": "1", "failed": "2", "error": "why"}})]
    machine.arrived(group(0, 2, 3, rid="S9"))
    for expected in (2, 3):
        batch = machine.take()
        assert [event.id for event in batch.events] == [expected]
        machine.confirm(batch, 1)
    assert machine.answers[1:] == [("S9", DONE)]


def test_a_pusher_without_partial_processing_gets_an_error_and_what_was_processed_is_dropped():
    machine = Order()
    machine.arrived(group(0, 1, 2, session=None))
    machine.arrived(group(1, 3, session=None))
    machine.reject(machine.take(), 1, "why")
    assert machine.answers == [("S0", {"e": "InternalError", "edesc": "why"})]
    machine.arrived(group(0, 1, 2, session=None))
    assert [event.id for event in machine.take().events] == [2, 3]


def test_a_batch_outlives_its_session():
    machine = Order()
    machine.arrived(group(0, 1, 2))
    batch = machine.take()
    machine.arrived(group(0, 1, 2, 3, session=2, rid="S7"))
    assert machine.take() is None
    machine.confirm(batch, 2)
    assert machine.answers == []
    assert [event.id for event in machine.take().events] == [3]


def test_a_batch_of_an_earlier_generation_says_nothing():
    machine = Order()
    machine.arrived(group(0, 1, 2))
    batch = machine.take()
    machine.new_generation()
    machine.arrived(group(0, 1, 2, session=2))
    machine.confirm(batch, 2)
    assert machine.answers == [] and len(machine.take()) == 2


def test_a_parked_event_comes_whatever_its_id_and_moves_nothing():
    machine = Order()
    machine.arrived(group(0, 5, 6))
    machine.arrived(group(1, 2, parked=True))
    machine.arrived(group(2, 3, parked=True))
    machine.arrived(group(3, 7))
    machine.confirm(machine.take(), 2)
    first = machine.take()
    assert first.events[0].id == 2
    machine.reject(first, 0, "why")
    partly = {"r": {"through": None, "failed": "2", "error": "why"}}
    assert machine.answers[-1] == ("S1", partly)
    machine.confirm(machine.take(), 1)
    assert machine.answers[-1] == ("S2", DONE) and machine.newest == 6
    # The same answer again, never true for one that failed.
    machine.arrived(group(1, 2, parked=True, rid="S8"))
    machine.arrived(group(2, 3, parked=True, rid="S9"))
    assert machine.answers[-2:] == [("S8", partly), ("S9", DONE)]
    assert [event.id for event in machine.take().events] == [7]


def test_a_parked_event_of_an_earlier_session_is_not_answered_in_the_present_one():
    machine = Order()
    machine.arrived(group(0, 2, parked=True))
    batch = machine.take()
    machine.arrived(group(0, 7, session=2))
    machine.confirm(batch, 1)
    assert machine.answers == [] and [event.id for event in machine.take().events] == [7]


def test_a_group_far_ahead_is_refused():
    machine = Order()
    machine.arrived(group(5000, 1))
    assert machine.answers[0][1]["e"] == "InvalidRequest"


# Session


def sent(session: Session) -> list[dict]:
    return [json.loads(action.payload) for action in session.take_actions() if isinstance(action, Send)]


def answered(session: Session, now: float, **outcome) -> None:
    session.received(now, json.dumps({**outcome, "rid": f"C{session._rid}"}).encode())


def ready(now: float = 0, **options) -> Session:
    session = Session(Options("A", ENDPOINTS, **options), draw=random.Random(1))
    session.start(now)
    assert session.take_actions() == [Open("tcp://a:1")]
    session.connected(now)
    answered(session, now, r=True)
    answered(session, now, r=ORIGIN)
    assert session.state is State.READY
    session.take_actions()
    return session


def test_a_session_begins_with_two_calls_and_lives_by_signs_of_life():
    session = Session(Options("A", ENDPOINTS, want=("X",), start="now"))
    session.start(0)
    session.take_actions()
    session.connected(0)
    assert [(call["f"].rpartition(":")[2], call["p"]) for call in sent(session)] == [
        ("registerConsumer", {"component": "A", "start": "now"})]
    answered(session, 0, r=True)
    asked = {"component": "A", "want": ["X"], "origin": True, "fields": ["us", "key", "meta"], "partial": True}
    assert [call["p"] for call in sent(session)] == [asked]
    answered(session, 0, r=ORIGIN)
    assert session.deadline == 5
    session.tick(4.9)
    assert session.take_actions() == [Progress("ready", endpoint="tcp://a:1")]
    session.tick(5)
    assert [call["p"] for call in sent(session)] == [asked]
    session.tick(20)
    assert Close() in session.take_actions() and session.state is State.PAUSING


def test_an_older_pusher_is_asked_without_what_it_does_not_know():
    session = Session(Options("A", ENDPOINTS))
    session.start(0)
    session.connected(0)
    answered(session, 0, r=True)
    answered(session, 0, e="InvalidRequest")
    answered(session, 0, e="InvalidRequest")
    assert sent(session)[-1]["p"] == {"component": "A", "want": None}
    answered(session, 0, r=True)
    assert session.is_ready
    session.disconnected(0, "lost")
    session.tick(9)
    session.connected(9)
    answered(session, 9, r=True)
    assert "partial" in sent(session)[-1]["p"], "the next pusher may be newer"


@pytest.mark.parametrize("code, state", [
    ("ConsumerBusy", State.RESTING), ("InternalError", State.RESTING), ("HistoryUnavailable", State.PAUSING),
    ("NotRegistered", State.RESTING), ("Unauthorized", State.ENDED), ("SecurityError", State.ENDED)])
def test_what_passes_is_tried_again_and_what_does_not_ends_the_receiver(code, state):
    session = Session(Options("A", ENDPOINTS))
    session.start(0)
    session.connected(0)
    answered(session, 0, r=True)
    answered(session, 0, e=code, edesc="text")
    assert session.state is state
    assert (session.error is not None and session.error.code == code) == (state is State.ENDED)


def test_pauses_grow_and_differ_and_endpoints_take_turns():
    session = Session(Options("A", ENDPOINTS), draw=random.Random(7))
    session.start(0)
    now, pauses, opened = 0.0, [], []
    for _ in range(12):
        opened += [action.endpoint for action in session.take_actions() if isinstance(action, Open)]
        session.disconnected(now, "nobody")
        pauses.append(session.deadline - now)
        now = session.deadline
        session.tick(now)
    assert opened == ["tcp://a:1", "tcp://b:1"] * 6
    assert pauses[0] <= 0.1 and 2.5 <= pauses[-1] <= 5 and len(set(pauses)) == 12


def test_an_endpoint_where_nobody_answers_is_left():
    session = Session(Options("A", ENDPOINTS))
    session.start(0)
    session.tick(2)
    assert [type(action) for action in session.take_actions()] == [Open, Progress, Close]
    session.tick(3)
    assert session.take_actions() == [Open("tcp://b:1")]


def test_stopping_ends_the_session_at_the_pusher_and_does_not_wait_for_ever():
    session = ready()
    session.stop(1)
    assert sent(session)[0]["f"].endswith("stopReceiving")
    answered(session, 1, r=True)
    assert session.has_ended and session.take_actions() == [Close()]
    session = ready()
    session.stop(1)
    session.tick(3)
    assert session.has_ended


def test_a_busy_slice_is_exchanged_for_another_one():
    slices = Slices(range(4), random.Random(1))
    session = Session(Options("A", ENDPOINTS, slices=4), slices, random.Random(1))
    session.start(0)
    session.connected(0)
    assert sent(session)[0]["p"]["slices"] == 4
    answered(session, 0, r=True)
    tried, now = [], 0.0
    for _ in range(8):
        tried.append(sent(session)[-1]["p"]["slice"]["index"])
        answered(session, now, e="ConsumerBusy")
        now = session.deadline
        session.tick(now)
    assert sorted(tried[:4]) == [0, 1, 2, 3] and tried[:4] == tried[4:]


def test_a_generation_that_begins_makes_what_was_processed_count_no_more():
    session = ready()
    session.tick(5)
    answered(session, 5, r={**ORIGIN, "generation": "h"})
    assert [action.what for action in session.take_actions() if isinstance(action, Progress)] == ["generation"]


INPUTS = {
    "start": lambda session, now: session.start(now),
    "connected": lambda session, now: session.connected(now),
    "disconnected": lambda session, now: session.disconnected(now, "lost"),
    "done": lambda session, now: answered(session, now, r=True),
    "origin": lambda session, now: answered(session, now, r=ORIGIN),
    "other": lambda session, now: answered(session, now, r={**ORIGIN, "generation": str(now)}),
    "busy": lambda session, now: answered(session, now, e="ConsumerBusy"),
    "invalid": lambda session, now: answered(session, now, e="InvalidRequest"),
    "group": lambda session, now: session.received(now, json.dumps({
        "f": "futoin.evt.receiver:1.1:onEvents", "rid": "S1", "p": {"seq": 0, "session": 1, "events": [
            {"id": "1", "type": "A", "data": None, "ts": "2026-11-24T08:30:00Z"}]}}).encode()),
    "late": lambda session, now: session.tick(now + 100),
    "work": lambda session, now: (batch := session.take()) and session.confirm(batch, len(batch)),
    "fail": lambda session, now: (batch := session.take()) and session.reject(batch, 0, "why"),
    "stop": lambda session, now: session.stop(now),
}


def test_every_input_in_every_state():
    """All sequences of three inputs, from each state on."""
    seen = set()
    ready = ["start", "connected", "done", "origin", "group"]
    for before in ([], ["start"], ["start", "disconnected"], ready[:2], ready[:3], ready, [*ready, "late"], [*ready, "stop"],
                   [*ready[:3], "busy"]):
        for inputs in itertools.product([name for name in INPUTS if name != "start"], repeat=3):
            session, is_open, ended = Session(Options("A", ENDPOINTS), draw=random.Random(1)), False, False
            for now, name in enumerate((*before, *inputs)):
                INPUTS[name](session, now)
                for action in session.take_actions():
                    assert not ended, f"{inputs}: {action} after the end"
                    is_open = not isinstance(action, Close) if isinstance(action, (Open, Close)) else is_open
                    assert is_open or not isinstance(action, Send), f"{inputs}: sent without a connection"
                ended = session.has_ended
                assert not (ended and is_open)
                assert ended or session.state is State.NEW or session.deadline < 1000, f"{inputs}: waits for ever in {session.state}"
                seen.add(session.state)
    assert seen == set(State)


@pytest.mark.parametrize("payload", [
    b"", b"\xff", b"{}", b"[]", b"null", b'{"r":', b'{"rid":"C1"}', b'{"f":1}', b'{"f":"x","rid":"S1"}', b'{"f":"x","rid":1}',
    b"[" * 100_000, b'{"rid":"C2","r":' + b"[" * 100_000,
    b'{"f":"futoin.evt.receiver:1.1:onEvents","rid":"S1"}', b'{"f":"futoin.evt.receiver:1.1:onEvents","rid":"S1","p":[]}',
    b'{"f":"futoin.evt.receiver:1.1:onEvents","rid":"S1","p":{"seq":-1,"events":[]}}',
    b'{"f":"futoin.evt.receiver:1.1:onEvents","rid":"S1","p":{"seq":0,"events":[{"id":"1"}]}}',
    b'{"f":"futoin.evt.receiver:1.1:onEvents","rid":"S1","p":{"seq":0,"events":{"id":"1"}}}'])
def test_what_cannot_be_read_is_refused_and_harms_nothing(payload):
    session = ready()
    session.received(0, payload)
    assert all("e" in message for message in sent(session))
    assert session.is_ready and session.take() is None


# Whole lives


@pytest.mark.parametrize("kind", ["new", "parking", "without partial", "without origin"])
def test_every_event_is_processed_in_order_whatever_happens(kind):
    pusher = {"new": {}, "parking": {"max_attempts": 2}, "without partial": {"partial": False},
              "without origin": {"partial": False, "origin": False}}[kind]
    seeds = random.Random()
    for _ in range(40):
        seed = seeds.randrange(1 << 32)
        world = World(seed, max_batch=seeds.choice((1, 3, 1000)), **pusher)
        try:
            for step in range(200_000):
                if step == 3000:
                    world.broken = 0
                world.step()
                if step > 3000 and world.is_done:
                    break
            assert world.is_done, f"not done: position {world.pusher.position}, parked {world.pusher.parked}, {world.session.state}"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {kind}, max_batch {world.session.options.max_batch}: {error}") from error


def test_errors_say_whether_a_retry_helps():
    assert EventStreamError("ConsumerBusy", "x").retriable and not EventStreamError("Unauthorized").retriable
    assert str(EventStreamError("Timeout", "late")) == "Timeout: late" and str(EventStreamError("Timeout")) == "Timeout"
