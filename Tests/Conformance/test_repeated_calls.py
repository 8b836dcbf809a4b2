"""What a peer repeats without end costs neither the database nor anybody else (section 2)."""

from __future__ import annotations

import json
import time

import pytest

from Harness.waiting import QUIET
from Harness.wire import PUSH

CALLS = 20_000


def flood(peer, calls) -> dict[str, int]:
    """Sends all calls, reading answers meanwhile; returns how often each outcome was answered."""
    outcomes: dict[str, int] = {}
    sent = 0
    for rid, payload in calls:
        peer.send(payload)
        sent += 1
        while peer.socket.poll(0):
            count(peer, outcomes)
    while sum(outcomes.values()) < sent and peer.socket.poll(int(QUIET * 5000)):
        count(peer, outcomes)
    return outcomes


def count(peer, outcomes) -> None:
    body = json.loads(peer.socket.recv_multipart()[-1])
    if "f" in body:
        peer.send(json.dumps({"r": True, "rid": body["rid"]}))
        return
    name = body.get("e", "done")
    outcomes[name] = outcomes.get(name, 0) + 1


def toggling(component: str, *variants: dict):
    for number in range(CALLS):
        params = {"component": component, **variants[number % len(variants)]}
        yield number, json.dumps({"f": f"{PUSH}:readyToReceive", "p": params, "rid": f"C{number}x"})


def transactions(stream) -> int:
    return int(stream.database.value("SELECT txid_current()"))


@pytest.mark.parametrize("variants", [
    ({"want": ["ONE"]}, {"want": ["TWO"]}),
    ({"want": None, "precise": True}, {"want": None, "precise": False}),
    ({"want": None, "fields": ["key"]}, {"want": None, "fields": ["meta"]}),
], ids=["want", "precise", "fields"])
def test_sessions_replaced_without_end_cost_few_transactions(stream, source, peer, rival, consumer, variants):
    before = transactions(stream)
    began = time.monotonic()
    outcomes = flood(peer, toggling(consumer, *variants))
    seconds = time.monotonic() - began
    assert set(outcomes) <= {"done", "DefenseRejected"}
    # Ten sessions a second of a consumer, and what goes on besides.
    assert transactions(stream) - before < 100 + 40 * seconds
    # Nobody waits behind it.
    began = time.monotonic()
    rival.register(f"{consumer}r")
    assert time.monotonic() - began < 5


def test_the_filter_asked_for_last_is_the_one_that_counts(source, peer, consumer, event_type, other_type):
    for number in range(30):
        peer.request(f"{PUSH}:readyToReceive", {"component": consumer, "want": [[event_type], [other_type]][number % 2]})
    assert peer.ready(consumer, [event_type]) is True
    source.add_event(other_type)
    wanted = int(source.add_event(event_type))
    group = peer.next_group()
    assert (group.seq, group.ids) == (0, [wanted])


def test_live_sessions_replaced_without_end_are_answered_and_disturb_nobody(stream, source, peer, rival, consumer, event_type):
    outcomes = flood(peer, toggling("LIVE", {"want": ["ONE"]}, {"want": ["TWO"]}))
    assert set(outcomes) <= {"done", "DefenseRejected"}
    rival.ready(consumer, [event_type])
    wanted = int(source.add_event(event_type))
    assert rival.next_group().ids == [wanted]


def test_what_a_peer_repeats_fills_no_log(stream, peer, consumer):
    before = len(stream.pusher.process.log.read_bytes())
    began = time.monotonic()
    flood(peer, toggling(consumer, {"want": ["ONE"]}, {"want": ["TWO"]}))
    flood(peer, ((number, json.dumps({"f": f"{PUSH}:stopReceiving", "p": {"component": consumer}, "rid": f"C{number}y"}))
                 for number in range(CALLS)))
    lines = stream.pusher.process.log.read_bytes()[before:].count(b"\n")
    assert lines < 300 + 3 * (time.monotonic() - began)
