"""Where a consumer begins (section 4)."""

import pytest

from Harness.expect import refused
from Harness.waiting import eventually
from Harness.wire import POLL, PUSH

NOT_STARTS = ["", "last", "First", "0", "-1", "1.5", "9" * 19, "2026-11-24", "2026-13-01T00:00:00Z", 1, True, [], {}]


def register(peer, component, start, interface=PUSH):
    return peer.call(f"{interface}:registerConsumer", component=component, start=start)


@pytest.mark.parametrize("interface", [POLL, PUSH])
def test_a_consumer_begins_where_it_says(source, peer, component, event_type, interface):
    ids = [source.add_event(event_type) for _ in range(3)]
    names = [f"{component[:14]}_{letter}" for letter in "abc"]
    assert register(peer, names[0], ids[1], interface) is True
    assert [event["id"] for event in peer.poll(names[0], want=[event_type])] == ids[2:]
    assert register(peer, names[1], "now", interface) is True
    assert peer.poll(names[1], want=[event_type]) == []
    assert register(peer, names[2], None, interface) is True
    assert [event["id"] for event in peer.poll(names[2], want=[event_type])] == ids


def test_nothing_is_discarded_here_so_the_first_event_is_there(stream, source, peer, component, event_type):
    event_id = source.add_event(event_type)
    assert register(peer, component, "first") is True
    assert stream.position(component) == 0
    assert peer.ready(component, [event_type]) is True
    assert peer.receive_until(event_id) == [event_id]


def test_a_time_is_that_of_the_first_event_at_or_after_it(stream, source, peer, component, event_type):
    source.add_event(event_type)
    second = "date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC') + interval '1 second'"
    time = stream.database.value(f"SELECT to_char({second}, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    eventually(lambda: stream.database.value(
        f"SELECT clock_timestamp() >= '{time}'::timestamptz") == "t", "the time has come")
    event_id = source.add_event(event_type)
    source.add_event(event_type)
    assert register(peer, component, time) is True
    assert stream.position(component) == int(event_id) - 1
    later = f"{component[:14]}_l"
    assert register(peer, later, "2999-01-01T00:00:00Z") is True
    assert stream.position(later) > int(event_id)


def test_a_registered_consumer_keeps_its_position_whatever_the_start(stream, source, peer, consumer, event_type):
    event_id = source.add_event(event_type)
    peer.poll(consumer, last_id=event_id)
    eventually(lambda: stream.position(consumer) >= int(event_id), "the position is stored")
    for start in ["first", "now", "1", "2026-11-24T08:30:00Z"]:
        assert register(peer, consumer, start) is True
        assert stream.position(consumer) >= int(event_id)


@pytest.mark.parametrize("start", NOT_STARTS, ids=repr)
def test_any_other_start_is_refused_and_nothing_is_registered(peer, component, start):
    with refused("InvalidRequest"):
        register(peer, component, start)
    with refused("NotRegistered"):
        peer.poll(component)


def test_an_id_beyond_the_newest_event_is_refused(source, peer, component, event_type):
    event_id = source.add_event(event_type)
    with refused("InvalidRequest"):
        register(peer, component, str(int(event_id) + 1_000_000))
