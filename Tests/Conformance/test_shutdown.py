"""Stopping and starting again: clean ends, nothing lost, at least once (section 5)."""

import pytest

from Harness.expect import begins_anew, ready_when_free, separate_groups
from Harness.sockets import free_endpoint
from Harness.waiting import QUIET, eventually
from Harness.wire import GEN, POLL, NoMessage


def test_an_idle_generator_stops_with_status_0(stream):
    assert stream.start_generator().process.stop() == 0


def test_an_idle_pusher_stops_with_status_0(second):
    assert second.process.stop() == 0


def test_a_pusher_with_a_session_and_groups_in_flight_stops_with_status_0(
        source, second, elsewhere, component, event_type):
    elsewhere.register(component)
    elsewhere.ready(component, [event_type])
    separate_groups(source, elsewhere, event_type, 3)
    assert second.process.stop() == 0


def test_a_pusher_with_polls_that_wait_their_turn_stops_with_status_0(stream, connect, event_type):
    stream.database.value(
        "WITH added AS (INSERT INTO evt_queue (type, data) SELECT 'OTHER', '1' FROM generate_series(1, 100000) RETURNING 1) "
        "SELECT count(*) FROM added")
    for _ in range(5):
        pusher = stream.start_pusher()
        poller = connect(pusher.endpoint)
        for last in range(200):
            poller.request(f"{POLL}:pollEvents", {"component": "LIVE", "last_id": str(last + 1), "want": [event_type]})
        poller.ping()
        assert pusher.process.stop() == 0
        assert "Fatal" not in pusher.process.log.read_text(errors="replace")


def test_a_generator_that_is_stopped_amid_requests_keeps_every_event_it_answered(stream, connect, event_type):
    generator = stream.start_generator()
    source = connect(generator.endpoint)
    rids = [source.request(f"{GEN}:addEvent", {"type": event_type, "data": n}) for n in range(500)]
    source.answer(rids[0])
    assert generator.process.stop() == 0
    answers = []
    try:
        for rid in rids[1:]:
            answers.append(source.answer(rid, timeout=QUIET))
    except NoMessage:
        pass  # not every request needs to be answered
    stored = set(stream.database.values(f"SELECT id FROM evt_queue WHERE type = '{event_type}'"))
    assert {answer.result() for answer in answers if answer.error is None} <= stored


def test_positions_are_stored_at_once_on_shutdown(stream, source, connect, component, event_type):
    """A stop waits for the database no longer than a second: on a machine that stands still so long another one shows it."""
    def is_stored(attempt: int) -> bool:
        pusher = stream.start_pusher()
        receiver = connect(pusher.endpoint)
        name, wanted = f"{component}_{attempt}", event_type + "ABCDE"[attempt]
        receiver.register(name)
        receiver.ready(name, [wanted])
        groups = separate_groups(source, receiver, wanted, 3)
        receiver.accept(groups[0])
        receiver.accept(groups[1])
        receiver.ping()
        assert pusher.process.stop() == 0
        assert stream.position(name) < groups[2].ids[0]
        return stream.position(name) >= groups[1].ids[-1]
    assert any(map(is_stored, range(5)))


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_after_a_restart_of_the_pusher_the_session_starts_again_at_seq_0(
        stream, source, second, elsewhere, component, event_type, ending):
    elsewhere.register(component)
    elsewhere.ready(component, [event_type])
    groups = separate_groups(source, elsewhere, event_type, 2)
    elsewhere.accept(groups[0])
    eventually(lambda: stream.position(component) >= groups[0].ids[-1], "the position is stored")
    getattr(second.process, ending)()
    later = int(source.add_event(event_type))
    restarted = stream.start_pusher(EVT_PUSHER_BIND=second.endpoint, EVT_LIVE_BIND="")
    ready_when_free(elsewhere, component, [event_type])
    assert begins_anew(elsewhere, 2) == groups[1].ids + [later]
    assert restarted.process.stop() == 0


def test_events_recorded_while_no_pusher_runs_come_later(stream, source, peer, connect, component, event_type):
    peer.register(component)
    recorded = [source.add_event(event_type) for _ in range(10)]
    late = stream.start_pusher()
    receiver = connect(late.endpoint)
    receiver.ready(component, [event_type])
    assert [event["id"] for event in receiver.receive_events(10)] == recorded
    assert late.process.stop() == 0


def test_a_source_goes_on_after_a_restart_of_the_generator(stream, connect, event_type):
    endpoint = free_endpoint()
    first = stream.start_generator(EVT_GENERATOR_BIND=endpoint)
    source = connect(endpoint)
    before = int(source.add_event(event_type))
    assert first.process.stop() == 0
    second = stream.start_generator(EVT_GENERATOR_BIND=endpoint)
    assert int(source.add_event(event_type)) > before
    assert second.process.stop() == 0


def test_two_generators_share_one_stream(stream, source, peer, connect, consumer, event_type):
    second = stream.start_generator()
    elsewhere = connect(second.endpoint)
    peer.ready(consumer, [event_type])
    ids = [int(adder.add_event(event_type)) for _ in range(20) for adder in (source, elsewhere)]
    assert ids == sorted(set(ids))
    assert [int(event["id"]) for event in peer.receive_events(40)] == ids
    assert second.process.stop() == 0
