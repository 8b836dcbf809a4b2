"""How large a group of events may be: 1000 events, 8 MiB; what could never travel is refused (section 3)."""

import pytest

from Harness.database import SqlError
from Harness.wire import GEN, POLL, Peer

SETTINGS = {"EVT_MAX_CHUNK_EVENTS": "1000", "EVT_MAX_REQUEST_BYTES": "16777216"}
MIB = 1024 * 1024
LARGEST_MESSAGE = 8 * MIB


def record_many(stream, event_type: str, count: int) -> list[int]:
    return [int(event_id) for event_id in stream.database.values(
        f"SELECT evt_add('{event_type}', to_json(n)) FROM generate_series(1, {count}) n")]


def record_large(stream, event_type: str, count: int, size: int, letter: str = "x") -> list[int]:
    return [int(event_id) for event_id in stream.database.values(
        f"SELECT evt_add('{event_type}', to_json(repeat('{letter}', {size}))) FROM generate_series(1, {count})")]


def receive_groups(peer: Peer, ids: list[int]) -> list[int]:
    """Accepts groups until as many events have come; returns their ids, after a look at each group's size."""
    received: list[int] = []
    while len(received) < len(ids):
        group = peer.next_group()
        assert 1 <= len(group.events) <= 1000
        assert len(group.message.text.encode()) <= LARGEST_MESSAGE
        peer.accept(group)
        received += group.ids
    return received


def poll_chunks(peer: Peer, component: str, event_type: str) -> list[int]:
    """Polls until there is no more; returns the ids, after a look at each answer's size."""
    received: list[int] = []
    while True:
        last_id = str(received[-1]) if received else None
        answer = peer.answer(peer.request(
            f"{POLL}:pollEvents", {"component": component, "last_id": last_id, "want": [event_type]}))
        assert len(answer.text.encode()) <= LARGEST_MESSAGE
        events = answer.result()
        if not events:
            return received
        assert len(events) <= 1000
        received += [int(event["id"]) for event in events]


def test_a_pushed_group_has_at_most_1000_events(stream, peer, either, event_type):
    peer.ready(either, [event_type])
    ids = record_many(stream, event_type, 3500)
    assert receive_groups(peer, ids) == ids


def test_a_backlog_comes_in_groups_of_at_most_1000_events(stream, peer, consumer, event_type):
    ids = record_many(stream, event_type, 3500)
    peer.ready(consumer, [event_type])
    assert receive_groups(peer, ids) == ids


def test_an_answer_to_a_poll_has_at_most_1000_events(stream, peer, either, event_type):
    ids = record_many(stream, event_type, 2500)
    assert poll_chunks(peer, either, event_type) == ids


def test_a_pushed_group_has_at_most_8_mib(stream, peer, either, event_type):
    peer.ready(either, [event_type])
    ids = record_large(stream, event_type, 5, 3 * MIB)
    assert receive_groups(peer, ids) == ids


def test_an_answer_to_a_poll_has_at_most_8_mib(stream, peer, either, event_type):
    ids = record_large(stream, event_type, 5, 3 * MIB)
    assert poll_chunks(peer, either, event_type) == ids


def test_many_events_of_middle_size_are_cut_by_bytes_too(stream, peer, consumer, event_type):
    ids = record_large(stream, event_type, 500, 20000, "\u00e9")
    peer.ready(consumer, [event_type])
    assert receive_groups(peer, ids) == ids


def test_an_event_of_the_largest_size_travels_on_every_way(stream, source, subscribe, peer, rival, consumer, event_type):
    subscriber = subscribe(stream, source, event_type)
    peer.ready(consumer, [event_type])
    rival.ready("LIVE", [event_type])
    data = "y" * (LARGEST_MESSAGE - 4096 - 2)
    source.add_event(event_type, data)
    group = peer.next_group()
    assert len(group.message.text.encode()) <= LARGEST_MESSAGE
    for events in (group.events, rival.receive_events(1), [subscriber.next_event()], rival.poll("LIVE", want=[event_type])):
        assert [event["data"] for event in events] == [data]


def test_an_event_that_could_never_travel_is_refused_by_the_generator(stream, source, event_type):
    rids = [source.request(f"{GEN}:addEvent", {"type": event_type, "data": size * "z"}) for size in (1, 9 * MIB, 2)]
    assert source.answer(rids[1]).error == "InvalidRequest"
    ids = [int(source.answer(rids[0]).result()), int(source.answer(rids[2]).result())]
    assert [int(text) for text in stream.database.values(
        f"SELECT id FROM evt_queue WHERE type = '{event_type}' ORDER BY id")] == ids


@pytest.mark.parametrize("statement", [
    "SELECT evt_add('{type}', {data})",
    "INSERT INTO evt_queue(type, data, ts) VALUES ('{type}', {data}, now() AT TIME ZONE 'UTC') RETURNING id",
], ids=["evt_add", "insert"])
def test_an_event_that_could_never_travel_is_refused_by_the_database(sql, event_type, statement):
    with pytest.raises(SqlError):
        sql().run(statement.format(type=event_type, data=f"to_json(repeat('z', {9 * MIB}))"))


def test_a_request_over_the_configured_limit_is_still_refused(source):
    source.request(f"{GEN}:addEvent", {"type": "ANY", "data": "z" * 17_000_000})
    assert source.next_answer().error == "InvalidRequest"
