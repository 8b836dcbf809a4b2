"""What an Event has besides id, type, data and ts, for those who ask for it (section 8.4)."""

import itertools
import json

import pytest

from Harness.database import literal
from Harness.expect import refused
from Harness.waiting import eventually

PLAIN = {"id", "type", "data", "ts"}
FIELDS = ["us", "key", "meta"]
META = '{ "b":1.0 ,"a":1e2}'


def record(stream, event_type: str, key: str | None = None, meta: str | None = None) -> str:
    def text(value):
        return "NULL" if value is None else literal(value)
    return stream.database.value(f"SELECT evt_add({literal(event_type)}, '1', key => {text(key)}, meta => {text(meta)})")


def fetch(how: str, stream, peer, consumer, event_type, count: int, **more) -> list[dict]:
    """The events of the type, in one list."""
    eventually(lambda: len(peer.poll(consumer, want=[event_type])) == count, "all events can be delivered")
    if how == "poll":
        return peer.poll(consumer, want=[event_type], **more)
    peer.ready(consumer, [event_type], **more)
    return peer.receive_events(count)


def record_all(stream, event_type: str) -> None:
    for key, meta in itertools.product([None, "order 17"], [None, META]):
        record(stream, event_type, key, meta)


@pytest.mark.parametrize("how", ["poll", "push"])
@pytest.mark.parametrize("fields", [list(some) for count in range(4) for some in itertools.combinations(FIELDS, count)], ids="+".join)
def test_an_event_has_the_fields_that_were_asked_for_where_it_has_them(stream, peer, consumer, event_type, how, fields):
    record_all(stream, event_type)
    events = fetch(how, stream, peer, consumer, event_type, 4, fields=fields)
    for number, event in enumerate(events):
        held = {"us"} | ({"key"} if number & 2 else set()) | ({"meta"} if number & 1 else set())
        assert set(event) == PLAIN | (held & set(fields))
        assert event.get("key", "order 17") == "order 17"
        assert event.get("meta", {"a": 100, "b": 1}) == {"a": 100, "b": 1}


@pytest.mark.parametrize("how", ["poll", "push"])
def test_precise_adds_to_the_fields(stream, peer, consumer, event_type, how):
    record(stream, event_type, "k", "{}")
    [event] = fetch(how, stream, peer, consumer, event_type, 1, fields=["key", "key"], precise=True)
    assert set(event) == PLAIN | {"us", "key"}


@pytest.mark.parametrize("how", ["poll", "push"])
@pytest.mark.parametrize("more", [{}, {"fields": None}, {"fields": []}, {"precise": False}], ids=json.dumps)
def test_whoever_does_not_ask_gets_none(stream, peer, consumer, event_type, how, more):
    record_all(stream, event_type)
    events = fetch(how, stream, peer, consumer, event_type, 4, **more)
    assert [set(event) for event in events] == [PLAIN] * 4


@pytest.mark.parametrize("fields", ["us", "key,meta", {}, True, 1, [1], [None], ["id"], ["us", "KEY"], [""], [["us"]]], ids=json.dumps)
def test_anything_else_is_refused(peer, consumer, fields):
    with refused("InvalidRequest"):
        peer.poll(consumer, fields=fields)
    with refused("InvalidRequest"):
        peer.ready(consumer, fields=fields)


@pytest.mark.parametrize("key", ["é" * 64, 'a"b\\c', "\u0001\t\n\u007f", "😀", " "], ids=json.dumps)
def test_any_key_arrives_as_it_was_recorded(stream, peer, consumer, event_type, key):
    record(stream, event_type, key)
    [event] = fetch("poll", stream, peer, consumer, event_type, 1, fields=["key"])
    assert event["key"] == key


def test_meta_arrives_verbatim(stream, peer, consumer, event_type):
    record(stream, event_type, meta=META)
    peer.ready(consumer, [event_type], fields=["meta"])
    group = peer.next_group()
    assert f'"meta":{META}' in group.message.text
    peer.accept(group)


def test_peers_get_the_same_events_each_with_its_own_fields(stream, peer, rival, consumer, event_type):
    rival.register(f"{consumer}b")
    peer.ready(consumer, [event_type], fields=["key", "meta"])
    rival.ready(f"{consumer}b", [event_type])
    ids = [record(stream, event_type, f"k{number}", "{}") for number in range(20)]
    mine, theirs = peer.receive_events(20), rival.receive_events(20)
    assert [event["id"] for event in mine] == [event["id"] for event in theirs] == ids
    assert [event["key"] for event in mine] == [f"k{number}" for number in range(20)]
    assert all(set(event) == PLAIN for event in theirs)


def test_a_live_session_has_fields_and_the_broadcast_has_none(stream, source, peer, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    peer.ready("LIVE", [event_type], fields=FIELDS)
    record(stream, event_type, "k", '{"m":1}')
    [event] = peer.receive_events(1)
    assert set(event) == PLAIN | set(FIELDS)
    assert set(subscriber.next_event()) == PLAIN


def test_other_fields_begin_a_new_session(stream, peer, consumer, event_type):
    peer.ready(consumer, [event_type], fields=["us", "key"])
    record(stream, event_type, "k", "{}")
    group = peer.next_group()
    assert (group.seq, set(group.events[0])) == (0, PLAIN | {"us", "key"})
    # In another order, by another name: the same.
    peer.ready(consumer, [event_type], fields=["key"], precise=True)
    peer.ready(consumer, [event_type], fields=["meta"])
    group = peer.next_group()
    assert (group.seq, set(group.events[0])) == (0, PLAIN | {"meta"})
    peer.accept(group)


def test_keys_and_metas_count_for_the_size_of_a_group(stream, peer, consumer, event_type):
    meta = json.dumps({"x": "y" * 4000})
    stream.database.values(
        f"SELECT evt_add('{event_type}', '1', key => repeat('k', 128), meta => {literal(meta)}) FROM generate_series(1, 600)")
    peer.ready(consumer, [event_type], fields=["key", "meta"])
    count = 0
    while count < 600:
        group = peer.next_group()
        assert len(group.message.text) <= (512 << 10) + 200
        count += len(group.events)
        peer.accept(group)
