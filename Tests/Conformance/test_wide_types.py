"""A stream with wide event types, and prefixes of types (section 8.8)."""

from __future__ import annotations

import json

import psycopg
import pytest

from Harness.expect import refused
from Harness.waiting import eventually
from Harness.wire import POLL

SETTINGS = {"EVT_SESSION_TIMEOUT": "3s"}
USERS = {"orders": "gen poll push live types=order.*,A_*", "paid": "live poll push types=order.paid,B"}

WIDE = ["order.paid.v2", "urn:a/b-c", "x" * 64, "0"]


@pytest.fixture
def wide(stream):
    """The stream takes wide types from now on; for good."""
    stream.evt("migrate", "--wide-types")


def types(events):
    return [event["type"] for event in events]


def test_prefixes_of_narrow_types(source, peer, component):
    for event_type in ("ORDER_PAID", "ORDER", "ORDER_SENT", "REFUND"):
        last = source.add_event(event_type)
    peer.call(f"{POLL}:registerConsumer", component=component, start="first")
    want = ["ORDER_*", "REFUND"]
    expected = ["ORDER_PAID", "ORDER_SENT", "REFUND"]
    eventually(lambda: types(peer.poll(component, want=want)) == expected, "a poll")
    assert peer.ready(component, want) is True
    assert types(peer.receive_events(3)) == expected
    with refused("InvalidRequest"):
        peer.poll(component, want=["ORDER_*", "A*B"])
    assert [event["id"] for event in peer.poll("LIVE", str(int(last) - 1), ["R*"])] == [last]
    assert [event["id"] for event in peer.poll("LIVE", str(int(last) - 1), ["*"])] == [last]


@pytest.mark.parametrize("event_type", WIDE)
def test_a_narrow_stream_has_no_wide_types(stream, source, peer, component, event_type):
    with refused("InvalidRequest"):
        source.add_event(event_type)
    with refused("InvalidRequest"):
        peer.poll("LIVE", want=[event_type])
    with refused("InvalidRequest"):
        peer.ready("LIVE", [event_type[:5] + ".*"])
    session = stream.database.open_session()
    with pytest.raises(psycopg.errors.CheckViolation):
        session.run(f"SELECT evt_add('{event_type}', '1')")
    session.close()


def test_a_wide_stream_takes_them_everywhere(stream, wide, source, peer, second, connect, component):
    # Once more changes nothing.
    stream.evt("migrate", "--wide-types", "--roles")
    peer.call(f"{POLL}:registerConsumer", component=component, start="now")
    first = int(source.add_event("order.paid", {"key": 1}))
    for number, event_type in enumerate(WIDE):
        source.add_event(event_type, number)
        stream.database.value(f"SELECT evt_add('{event_type}', '{number}', key => 'k')")
    last = source.add_event("NARROW")
    everything = ["order.paid", *(each for each in WIDE for _ in range(2)), "NARROW"]
    assert types(peer.poll(component)) == everything

    def sees(want, expected):
        try:
            return types(peer.poll("LIVE", str(first - 1), want)) == expected
        except Exception as error:
            assert "InvalidRequest" in str(error)
            return False

    # The pushers learn of it with a sign of life.
    eventually(lambda: sees(["order.*"], ["order.paid", *2 * ["order.paid.v2"]]), "a prefix")
    assert sees(["order.paid"], ["order.paid"]) and sees(["urn:*", "0", "N*"], 2 * ["urn:a/b-c"] + 2 * ["0"] + ["NARROW"])
    other = connect(second.endpoint)
    eventually(lambda: other.call(f"{POLL}:pollEvents", component="LIVE", want=["x*"], last_id=str(first - 1)), "the other pusher")
    assert peer.ready(component, ["order.paid.v2", "x*"]) is True
    assert types(peer.receive_events(4)) == 2 * ["order.paid.v2"] + 2 * ["x" * 64]
    eventually(lambda: stream.position(component) >= int(last), "the position passes the others")
    status = json.loads(stream.evt("status", "--json"))
    assert ["order.paid.v2", "x*"] in [each["want"] for each in status["consumers"]]


@pytest.mark.parametrize("event_type", ["", "x" * 65, "a b", "a*", "a\n", "é", "a'b", 'a"b', "a\\"])
def test_what_is_no_wide_type_either(stream, wide, source, event_type):
    with refused("InvalidRequest"):
        source.add_event(event_type)
    session = stream.database.open_session()
    for how in ("SELECT evt_add(%s, '1')", "INSERT INTO evt_queue (type, data) VALUES (%s, '1')"):
        with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.StringDataRightTruncation)):
            session.run(how.replace("%s", "'" + event_type.replace("'", "''") + "'"))
    session.close()


def test_rights_take_prefixes(stream, wide, join, source, component):
    orders, paid = join("orders"), join("paid")
    generator = join("orders", to=stream.generator.endpoint)
    first = int(source.add_event("order.paid"))
    for event_type in ("order.sent", "A_B", "A", "B", "order"):
        source.add_event(event_type)
    generator.add_event("order.x")
    with refused("Unauthorized"):
        generator.add_event("order")
    after = str(first - 1)
    eventually(lambda: types(orders.poll("LIVE", after)) == ["order.paid", "order.sent", "A_B", "order.x"], "all it may see")
    eventually(lambda: types(orders.poll("LIVE", after, ["order.*"])) == ["order.paid", "order.sent", "order.x"], "a prefix")
    assert types(paid.poll("LIVE", after, ["order.*", "B"])) == ["order.paid", "B"]
    with refused("Unauthorized"):
        paid.poll("LIVE", after, ["order.s*"])


def test_the_broadcast_has_what_begins_like_a_prefix(stream, wide, source, listen):
    subscriber = listen("orders", "order.p")
    for event_type in ("A_B", "order.sent", "B", "order.paid"):
        def comes():
            source.add_event(event_type)
            return subscriber.socket.poll(100)
        if event_type == "order.paid":
            eventually(comes, "an event that it asked for")
        else:
            comes()
    assert subscriber.next_event()["type"] == "order.paid"
