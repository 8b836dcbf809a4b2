"""Consumers that are cut into slices, each with a receiver of its own (section 8.5)."""

import hashlib

import pytest

from Harness.expect import ready_when_free, refused
from Harness.waiting import eventually
from Harness.wire import POLL, PUSH

SETTINGS = {"EVT_MAX_CHUNK_EVENTS": "1000"}


def slice_of(event_id, key, count):
    text = str(event_id) if key is None else key
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % count


def cut(index, of):
    return {"index": index, "of": of}


def register(peer, component, slices, **more):
    return peer.call(f"{PUSH}:registerConsumer", component=component, slices=slices, **more)


def record(stream, source, event_type, count):
    """Records events with and without keys; returns the key of each, by its id."""
    keys = [None if n % 5 == 0 else f'k"é{n % 7}' for n in range(count)]
    return {int(source.add_event(event_type, n, **({"key": key} if key else {}))): key for n, key in enumerate(keys)}


def test_the_vectors_of_the_protocol():
    assert slice_of(0, "a", 8) == 2 and slice_of(1, None, 8) == 1


def test_registering_again_must_say_the_same(peer, component):
    assert register(peer, component, 8, start="now") is True
    assert register(peer, component, 8) is True
    for other in (7, None):
        with refused("InvalidRequest"):
            register(peer, component, other)
    with refused("InvalidRequest"):
        register(peer, component, 7, start="first")


def test_a_consumer_without_slices_is_not_cut(peer, component):
    peer.register(component)
    with refused("InvalidRequest"):
        register(peer, component, 2)
    with refused("NotRegistered"):
        peer.ready(component, slice=cut(0, 2))


@pytest.mark.parametrize("slices", [0, 1, 257, -2, 2.0, "8", True, [8], {"of": 8}])
def test_numbers_of_slices_that_cannot_be(peer, component, slices):
    with refused("InvalidRequest"):
        register(peer, component, slices)
    with refused("NotRegistered"):
        peer.ready(component)


@pytest.mark.parametrize("part", [
    {}, {"index": 0}, {"of": 8}, {"index": 8, "of": 8}, {"index": -1, "of": 8}, {"index": 0, "of": 1}, {"index": 0, "of": 257},
    {"index": "0", "of": 8}, {"index": 0, "of": 8, "more": 1}, [0, 8], "0.8", 0, True])
def test_slices_that_cannot_be(peer, component, part):
    register(peer, component, 8)
    for call in (f"{PUSH}:readyToReceive", f"{PUSH}:stopReceiving", f"{PUSH}:lag", f"{POLL}:pollEvents"):
        with refused("InvalidRequest"):
            peer.call(call, component=component, slice=part)


def test_a_consumer_with_slices_has_no_session_of_its_own(peer, component):
    register(peer, component, 3)
    for call in (f"{PUSH}:readyToReceive", f"{PUSH}:lag", f"{POLL}:pollEvents"):
        with refused("InvalidRequest"):
            peer.call(call, component=component)
        with refused("NotRegistered"):
            peer.call(call, component=component, slice=cut(0, 4))


def test_each_slice_gets_its_events_in_order(stream, source, peer, connect, component, event_type):
    register(peer, component, 3)
    keys = record(stream, source, event_type, 60)
    received = {}
    for index in range(3):
        mine = [event_id for event_id, key in keys.items() if slice_of(event_id, key, 3) == index]
        receiver = connect(stream.pusher.endpoint)
        assert receiver.ready(component, [event_type], slice=cut(index, 3)) is True
        received[index] = [int(event_id) for event_id in receiver.receive_until(str(mine[-1]))]
        assert received[index] == mine
        # What is of other slices is passed over.
        position = f"SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{component}/{index}.3'"
        eventually(lambda: int(stream.database.value(position)) == max(keys), "the position is at the end")
    assert sorted(sum(received.values(), [])) == list(keys)


def test_each_slice_has_one_receiver(stream, peer, connect, component):
    register(peer, component, 2)
    assert peer.ready(component, slice=cut(0, 2)) is True
    other = connect(stream.pusher.endpoint)
    with refused("ConsumerBusy"):
        other.ready(component, slice=cut(0, 2))
    assert other.ready(component, slice=cut(1, 2)) is True
    assert peer.call(f"{PUSH}:stopReceiving", component=component, slice=cut(0, 2)) is True
    ready_when_free(other, component, slice=cut(0, 2))


def test_a_slice_is_polled_and_has_a_lag(stream, source, peer, component, event_type):
    register(peer, component, 4)
    keys = record(stream, source, event_type, 40)
    for index in range(4):
        mine = [str(event_id) for event_id, key in keys.items() if slice_of(event_id, key, 4) == index]
        more = {"component": component, "slice": cut(index, 4)}
        eventually(lambda: [event["id"] for event in peer.call(
            f"{POLL}:pollEvents", want=[event_type], last_id=None, **more)] == mine, "the events of the slice")
        eventually(lambda: peer.call(f"{PUSH}:lag", **more)["events"] == len(mine), "the lag counts the slice's events")
        found = peer.call(f"{POLL}:pollEvents", want=[event_type], last_id=mine[0], **more)
        assert [event["id"] for event in found] == mine[1:]
        eventually(lambda: peer.call(f"{PUSH}:lag", **more)["events"] == len(mine) - 1, "the lag is smaller")
        assert peer.call(f"{POLL}:pollEvents", want=[event_type], last_id=mine[-1], **more) == []
