"""What an Event looks like: its keys, its id, its time, the optional microseconds (sections 3 and 5)."""

import json
import re

import pytest

from Harness.database import add_sql
from Harness.expect import refused

TIMES = [
    ("2024-02-29 23:59:59.123456", "2024-02-29T23:59:59Z", 123456),
    ("2023-12-31 23:59:59.999999", "2023-12-31T23:59:59Z", 999999),
    ("2001-01-01 00:00:00", "2001-01-01T00:00:00Z", 0),
    ("1999-07-08 09:05:03.000001", "1999-07-08T09:05:03Z", 1),
    ("2038-01-19 03:14:08.5", "2038-01-19T03:14:08Z", 500000),
]


def fetch(how: str, peer, consumer, event_type, **more) -> list[dict]:
    """The events of the type, by polling or by a session."""
    if how == "poll":
        return peer.poll(consumer, want=[event_type], **more)
    peer.ready(consumer, [event_type], **more)
    return peer.receive_events(1)


@pytest.mark.parametrize("how", ["poll", "push"])
@pytest.mark.parametrize("more", [{}, {"precise": False}], ids=["by default", "when not precise"])
def test_an_event_has_exactly_id_type_data_and_ts(source, peer, consumer, event_type, how, more):
    event_id = source.add_event(event_type, {"a": 1})
    [event] = fetch(how, peer, consumer, event_type, **more)
    assert set(event) == {"id", "type", "data", "ts"}
    assert (event["id"], event["type"], event["data"]) == (event_id, event_type, {"a": 1})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["ts"])


@pytest.mark.parametrize("how", ["poll", "push"])
def test_a_precise_event_has_the_microseconds_too(source, peer, consumer, event_type, how):
    event_id = source.add_event(event_type, [])
    [event] = fetch(how, peer, consumer, event_type, precise=True)
    assert set(event) == {"id", "type", "data", "ts", "us"}
    assert event["id"] == event_id
    assert type(event["us"]) is int and 0 <= event["us"] <= 999999


@pytest.mark.parametrize("precise", ["true", 1, [], {}], ids=json.dumps)
def test_precise_must_be_a_boolean(peer, consumer, precise):
    with refused("InvalidRequest"):
        peer.poll(consumer, precise=precise)
    with refused("InvalidRequest"):
        peer.ready(consumer, precise=precise)


@pytest.mark.parametrize("how", ["poll", "push"])
@pytest.mark.parametrize("stored, ts, us", TIMES)
def test_the_time_is_cut_to_the_second_and_never_rounded(stream, peer, consumer, event_type, how, stored, ts, us):
    stream.database.value("INSERT INTO evt_queue(type, data, ts) "
                          f"VALUES ('{event_type}', '1', '{stored}') RETURNING id")
    [event] = fetch(how, peer, consumer, event_type, precise=True)
    assert (event["ts"], event["us"]) == (ts, us)


@pytest.mark.parametrize("how", ["by a call", "by SQL", "by SQL in another time zone"])
def test_the_time_of_an_event_is_the_utc_time_of_its_recording(stream, source, sql, peer, consumer, event_type, how):
    session = sql()
    now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    before = session.value(now)
    if how == "by a call":
        source.add_event(event_type)
    else:
        if how.endswith("zone"):
            session.run("SET TimeZone = 'Asia/Tokyo'")
        session.value(add_sql(event_type))
    after = session.value(now)
    [event] = peer.poll(consumer, want=[event_type])
    assert before <= event["ts"] <= after


@pytest.mark.parametrize("how", ["evt_add", "insert"])
def test_an_event_recorded_with_sql_is_like_any_other(stream, peer, consumer, event_type, how):
    event_id = stream.database.value(add_sql(event_type, '{"json":1}', how))
    [event] = peer.poll(consumer, want=[event_type])
    assert set(event) == {"id", "type", "data", "ts"}
    assert (event["id"], event["type"], event["data"]) == (event_id, event_type, {"json": 1})


@pytest.mark.parametrize("how", ["poll", "push"])
def test_ids_in_a_list_increase_strictly(source, peer, consumer, event_type, how):
    ids = [int(source.add_event(event_type, number)) for number in range(20)]
    if how == "poll":
        events = peer.poll(consumer, want=[event_type])
    else:
        peer.ready(consumer, [event_type])
        events = peer.receive_events(20)
    assert [int(event["id"]) for event in events] == ids == sorted(set(ids))
