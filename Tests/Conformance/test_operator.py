"""What an operator says of a consumer counts, whatever a pusher still knows of the session before (section 5)."""

from __future__ import annotations

import pytest

from Harness.waiting import eventually


@pytest.fixture
def evt(stream):
    """Runs `evt consumers …` on the stream's database."""
    return lambda *arguments: stream.evt("consumers", *arguments)


def confirm_all(stream, source, peer, consumer, event_type, count: int) -> list[int]:
    """Has events delivered and confirmed, and their position stored; returns the ids."""
    peer.ready(consumer, [event_type])
    ids = [int(source.add_event(event_type, number)) for number in range(count)]
    assert received(peer, count) == ids
    eventually(lambda: stream.position(consumer) >= ids[-1], "the position is stored")
    return ids


def received(peer, count: int) -> list[int]:
    return [int(event["id"]) for event in peer.receive_events(count)]


def test_a_position_set_back_while_the_receiver_is_away_is_where_it_goes_on(stream, source, peer, rival, consumer, event_type, evt):
    ids = confirm_all(stream, source, peer, consumer, event_type, 5)
    peer.close()
    evt("set", consumer, "0")
    rival.ready(consumer, [event_type])
    assert received(rival, 5) == ids


def test_a_position_set_back_during_a_session_is_where_the_next_filter_begins(
        stream, source, peer, consumer, event_type, other_type, evt):
    ids = confirm_all(stream, source, peer, consumer, event_type, 5)
    evt("set", consumer, "0")
    peer.ready(consumer, [event_type, other_type])
    assert received(peer, 5) == ids
    assert stream.position(consumer) <= ids[-1]


def test_a_consumer_removed_and_registered_while_its_receiver_is_away_begins_anew(
        stream, source, peer, rival, consumer, event_type, evt):
    ids = confirm_all(stream, source, peer, consumer, event_type, 5)
    peer.close()
    evt("remove", "--force", consumer)
    rival.register(consumer)
    rival.ready(consumer, [event_type])
    assert received(rival, 5) == ids


def test_a_position_set_forward_is_where_it_goes_on(stream, source, peer, rival, consumer, event_type, evt):
    ids = confirm_all(stream, source, peer, consumer, event_type, 3)
    later = [int(source.add_event(event_type, number)) for number in range(3)]
    peer.close()
    evt("set", consumer, "head")
    rival.ready(consumer, [event_type])
    last = int(source.add_event(event_type, "last"))
    assert received(rival, 1) == [last] and ids and later
