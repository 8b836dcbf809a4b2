"""What the endpoint is sent: CloudEvents in each format, signed, each event once."""

import json

import pytest

from Harness.processes import run
from Harness.waiting import eventually
from conftest import SECRET, Relay
from endpoint import Endpoint

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("form", ["structured", "binary", "batch"])
def test_an_event_is_a_cloud_event(stream, endpoint, relay, form):
    [event] = relay.record("ä key", meta=json.dumps({"traceparent": TRACE}))
    relay.start(EVT_RELAY_FORMAT=form)
    relay.confirmed(event)
    [taken] = endpoint.taken
    home, generation = (stream.database.value(f"SELECT {what} FROM evt_queue_state") for what in ("stream", "generation"))
    ts = stream.database.value(f"SELECT to_char(ts, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM evt_queue WHERE id = {event}")
    time = taken.attributes.pop("time")
    assert time.strftime("%Y-%m-%dT%H:%M:%S.%f") == ts and time.utcoffset().total_seconds() == 0
    content_type = taken.attributes.pop("datacontenttype", "application/json")
    assert content_type == "application/json"
    assert taken.attributes == {
        "specversion": "1.0", "id": str(event), "source": f"/eventstream/{home}", "type": relay.type, "generation": generation,
        "partitionkey": "ä key", "traceparent": TRACE}
    assert taken.data == {"n": 0, "poison": False}
    assert taken.webhook == f"{generation}_{event}"


def test_each_event_is_sent_once_and_in_order_for_each_key(endpoint, relay):
    keys = [None if n % 5 == 0 else f"k{n % 7}" for n in range(200)]
    ids = relay.record(*keys)
    relay.start()
    relay.confirmed(ids[-1])
    assert sorted(endpoint.ids()) == ids
    for key in set(keys):
        assert [event.id for event in endpoint.taken if event.key == key] == [id for id, each in zip(ids, keys) if each == key]
    assert relay.metric("evt_relay_events_total") == 200
    assert relay.is_ready() == ""


def test_a_batch_has_several_events(endpoint, relay):
    ids = relay.record(*["a"] * 250)
    relay.start(EVT_RELAY_FORMAT="batch")
    relay.confirmed(ids[-1])
    assert endpoint.ids() == ids and len(endpoint.asked) <= 10


def test_while_the_secret_is_changed_both_count(stream):
    new = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDdvX8R8N9jL0="
    endpoint = Endpoint(SECRET, new)
    relay = Relay(stream, f"http://127.0.0.1:{endpoint.port}/", EVT_RELAY_SECRET=f"{new},{SECRET}")
    [event] = relay.record(None)
    relay.start().confirmed(event)
    relay.stop()
    endpoint.close()
    assert endpoint.wrong == [] and endpoint.ids() == [event]


def test_slices_are_shared_by_relays(stream, endpoint):
    relay = Relay(stream, f"http://127.0.0.1:{endpoint.port}/", EVT_RELAY_SLICES="4")
    keys = [f"k{n}" for n in range(40)] * 2
    relay.start(EVT_RELAY_SLICES_MAX="2", EVT_METRICS_BIND="")
    first = relay.process
    relay.start(EVT_RELAY_SLICES_MAX="2")
    ids = relay.record(*keys)
    eventually(lambda: len(endpoint.taken) >= len(ids), "all are taken")
    assert sorted(endpoint.ids()) == ids
    for key in set(keys):
        assert [event.id for event in endpoint.taken if event.key == key] == [id for id, each in zip(ids, keys) if each == key]
    assert first.stop() == 0
    relay.stop()


def test_a_secret_is_not_taken_from_the_command_line(binaries):
    said = run(binaries / "evt-relay", "--relay-to", "https://example.com/", "--relay-secret", SECRET, check=False)
    assert "everyone on this machine can read the secret" in said and SECRET not in said
