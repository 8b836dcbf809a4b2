"""How far a consumer is behind, as the pusher tells it."""

import pytest

from Harness.expect import refused
from Harness.waiting import eventually
from Harness.wire import POLL, PUSH


def settles(peer, consumer, events):
    """The figures may be a second old."""
    eventually(lambda: peer.lag(consumer)["events"] == events, f"a lag of {events}")


def test_what_is_not_confirmed_lags(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    for _ in range(3):
        source.add_event(event_type)
    received = peer.receive_events(3)
    assert len(received) >= 3
    settles(peer, consumer, 0)


def test_a_registered_consumer_without_a_receiver_lags_by_all_it_wants(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    peer.stop(consumer)
    ids = [source.add_event(event_type) for _ in range(4)]
    settles(rival, consumer, 4)
    assert rival.lag(consumer)["seconds"] > 0
    assert rival.lag(consumer, POLL)["events"] == 4
    rival.call(f"{PUSH}:pollEvents", component=consumer, last_id=ids[1], want=[event_type])
    settles(rival, consumer, 2)


def test_what_it_does_not_want_is_no_lag(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    peer.stop(consumer)
    source.add_event("LAG_OTHER")
    source.add_event(event_type)
    settles(peer, consumer, 1)
    peer.call(f"{PUSH}:pollEvents", component=consumer, last_id=None, want=["LAG_NOBODY"])
    settles(peer, consumer, 0)
    assert peer.lag(consumer)["seconds"] == 0


def test_who_is_not_registered_has_none(peer):
    with refused("NotRegistered"):
        peer.lag("NOBODY_AT_ALL")


def test_live_has_no_position(peer):
    with refused("LiveNotAllowed"):
        peer.lag("LIVE")


@pytest.mark.parametrize("parameters", [{}, {"component": 1}, {"component": "A", "more": 1}])
def test_malformed(peer, parameters):
    with refused("InvalidRequest"):
        peer.call(f"{PUSH}:lag", **parameters)
