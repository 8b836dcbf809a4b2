"""What answers of the endpoint mean: taken, again later, refused, or nothing until a person changes something."""

import json
import subprocess
import threading
import time
from collections import Counter

import pytest

from Harness.processes import run
from Harness.waiting import eventually
from conftest import SECRET, Relay
from endpoint import HANG, RESET, Endpoint

# Pushers learn of parked events that are to be delivered again with a sign of life, five in this time.
SETTINGS = {"EVT_MAX_ATTEMPTS": "3", "EVT_PARK": "event", "EVT_SESSION_TIMEOUT": "10s"}


def parked(stream, relay) -> list[tuple]:
    rows = stream.database.value(
        "SELECT COALESCE(json_agg(json_build_array(p.id, p.attempts, p.error) ORDER BY p.id), '[]')::text "
        f"FROM evt_parked p JOIN evt_consumers c ON c.id = p.consumer WHERE ident = 'local:{relay.component}'")
    return [tuple(row) for row in json.loads(rows)]


@pytest.mark.parametrize("answer", [503, 500, 408, 425, HANG, RESET])
def test_what_passes_is_tried_again_and_is_no_failure_of_the_event(stream, endpoint, relay, answer):
    tries = Counter()

    def behave(events):
        tries[events[0].id] += 1
        return answer if events[0].data["n"] == 0 and tries[events[0].id] < 3 else None
    endpoint.behave = behave
    ids = relay.record("a", "a", "b")
    relay.start(EVT_RELAY_TIMEOUT="300ms")
    relay.confirmed(ids[-1])
    assert sorted(endpoint.ids()) == ids and tries[ids[0]] == 3
    assert [event.id for event in endpoint.taken if event.key == "a"] == ids[:2]
    assert len({events[0].webhook for events in endpoint.asked if events[0].id == ids[0]}) == 1
    assert relay.metric('evt_relay_failures_total{outcome="again"}') >= 2
    assert parked(stream, relay) == []


def test_the_endpoint_says_when_to_ask_again(endpoint, relay):
    times = []

    def behave(events):
        times.append(time.monotonic())
        return (429, {"Retry-After": "2"}) if len(times) == 1 else None
    endpoint.behave = behave
    [event] = relay.record(None)
    relay.start()
    relay.confirmed(event)
    assert 2 <= times[1] - times[0] < 10


def test_an_endpoint_that_is_not_there_is_found_when_it_comes(stream, free_port):
    relay = Relay(stream, f"http://127.0.0.1:{free_port}/")
    ids = relay.record("a", "b")
    relay.start()
    eventually(lambda: "the connection to the endpoint failed: Connection refused" in relay.is_ready(), "the relay is not ready")
    endpoint = Endpoint(SECRET, port=free_port)
    relay.confirmed(ids[-1])
    assert sorted(endpoint.ids()) == ids and relay.is_ready() == ""
    relay.stop()
    endpoint.close()


@pytest.mark.parametrize("form", ["structured", "batch"])
def test_an_event_that_is_refused_is_parked_and_others_go_on(stream, endpoint, relay, form):
    def behave(events):
        return (422, {}, b"no such order\n") if any(event.data["poison"] for event in events) else None
    endpoint.behave = behave
    keys = [f"k{n % 3}" for n in range(30)]
    ids = relay.record(*keys, poison=10)
    relay.start(EVT_RELAY_FORMAT=form)
    relay.confirmed(ids[-1])
    left = [event for event in ids if event != ids[10]]
    # Once each: what was taken beyond the refused event is remembered.
    assert sorted(endpoint.ids()) == left
    for key in set(keys):
        assert [event.id for event in endpoint.taken if event.key == key] == [
            event for event, each in zip(ids, keys) if each == key and event != ids[10]]
    assert parked(stream, relay) == [(ids[10], 3, "the endpoint answers 422: no such order\\n")]
    # An operator lets it come again, and it is told apart.
    endpoint.behave = lambda events: None
    stream.evt("parked", "retry", f"local:{relay.component}", "--all")
    eventually(lambda: ids[10] in endpoint.ids(), "the parked event is taken")
    assert endpoint.taken[-1].attributes["redelivered"] in (True, "true")


@pytest.mark.parametrize("answer", [(401,), (403,), (404,), (410,), (301, {"Location": "/elsewhere"})])
def test_what_is_no_fault_of_the_event_makes_the_relay_stand_still(stream, endpoint, relay, answer):
    endpoint.behave = lambda events: answer
    ids = relay.record("a", "b", "a")
    relay.start()
    eventually(lambda: f"the relay stands still: the endpoint answers {answer[0]}" in relay.is_ready(), "the relay is not ready")
    assert relay.metric("evt_relay_standing") == 1
    # Two at most are under way at first, and nothing is asked again soon.
    assert len(endpoint.asked) <= 2 and endpoint.taken == [] and parked(stream, relay) == []
    assert stream.position(relay.component) < ids[0]
    # Whoever puts that right need not wait for the minute to be over.
    endpoint.behave = lambda events: None
    relay.stop()
    relay.start()
    relay.confirmed(ids[-1])
    assert sorted(endpoint.ids()) == ids


def test_private_addresses_are_refused_unless_they_are_meant(stream, endpoint):
    relay = Relay(stream, f"http://localhost:{endpoint.port}/", EVT_RELAY_ALLOW_PRIVATE="false")
    relay.record(None)
    relay.start()
    eventually(lambda: "EVT_RELAY_ALLOW_PRIVATE=true" in relay.is_ready(), "the relay is not ready")
    assert endpoint.asked == []
    relay.stop()
    said = run(stream.programs / "evt-relay", settings={
        **relay.settings, "EVT_RELAY_TO": f"http://127.0.0.1:{endpoint.port}/"}, check=False)
    assert "127.0.0.1, which is no address of the public internet" in said


def test_a_certificate_that_nobody_vouches_for_is_refused(stream, tmp_path):
    files = tmp_path / "certificate", tmp_path / "key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
                    "-addext", "subjectAltName=DNS:localhost", "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    endpoint = Endpoint(SECRET, certificate=files)
    relay = Relay(stream, f"https://localhost:{endpoint.port}/")
    relay.record(None)
    relay.start()
    eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in relay.is_ready(), "the relay is not ready")
    assert endpoint.asked == []
    relay.stop()
    endpoint.close()


def test_a_relay_that_stops_lets_what_is_under_way_end(stream, endpoint, relay):
    arrived, go = threading.Event(), threading.Event()

    def behave(events):
        if events[0].data["n"] == 1:
            arrived.set()
            go.wait(60)
        return None
    endpoint.behave = behave
    ids = relay.record("a", "a", "a")
    relay.start()
    assert arrived.wait(60)
    threading.Timer(0.2, go.set).start()
    relay.stop()
    assert endpoint.ids() == ids[:2]
    endpoint.behave = lambda events: None
    relay.start()
    relay.confirmed(ids[2])
    # What belongs to a group that was not finished comes again.
    assert endpoint.ids()[2:] in (ids, ids[2:])


def test_a_relay_stops_in_time_although_the_endpoint_hangs(stream, endpoint, relay):
    endpoint.behave = lambda events: HANG
    relay.record("a", "b")
    relay.start()
    eventually(lambda: len(endpoint.asked) == 2, "the requests are under way")
    begun = time.monotonic()
    relay.stop()
    assert time.monotonic() - begun < 4.5


def test_of_two_relays_of_a_name_one_stands_by(stream, endpoint, relay):
    relay.start(EVT_METRICS_BIND="")
    first = relay.process
    [event] = relay.record(None)
    relay.confirmed(event)
    relay.start()
    eventually(lambda: "standing by" in relay.process.said(), "the second stands by")
    assert first.stop() == 0
    [event] = relay.record(None)
    relay.confirmed(event)
    assert len(endpoint.taken) == 2
