"""pollEvents of LIVE: for whoever just wants to look, nothing is stored (section 4)."""

import pytest

from Harness.wire import POLL, PUSH


def ids(events: list[dict]) -> list[str]:
    return [event["id"] for event in events]


def test_null_starts_from_the_oldest_event(stream, source, peer):
    for _ in range(3):
        source.add_event("ANY")
    oldest = stream.database.values("SELECT id FROM evt_queue ORDER BY id LIMIT 3")
    assert ids(peer.poll("LIVE"))[:3] == oldest


@pytest.mark.parametrize("interface", [POLL, PUSH, "futoin.evt.poll:1.0", "futoin.evt.push:1.0"])
def test_no_registration_is_needed(source, peer, event_type, interface):
    event_id = source.add_event(event_type)
    assert ids(peer.call(f"{interface}:pollEvents", component="LIVE", last_id=None, want=[event_type])) == [event_id]


def test_the_answer_starts_after_last_id_however_often_and_in_any_order(source, peer, event_type):
    recorded = [source.add_event(event_type) for _ in range(5)]
    for index in (3, 0, 4, 1, 1):
        assert ids(peer.poll("LIVE", last_id=recorded[index], want=[event_type])) == recorded[index + 1:]
    assert ids(peer.poll("LIVE", want=[event_type])) == recorded


def test_nothing_is_stored(stream, source, peer, event_type):
    event_id = source.add_event(event_type)
    peer.poll("LIVE", last_id=event_id)
    assert stream.database.value("SELECT count(*) FROM evt_consumers WHERE ident LIKE '%LIVE%'") == "0"


def test_a_registered_consumer_is_not_affected(source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(3)]
    assert peer.poll("LIVE", last_id=recorded[-1], want=[event_type]) == []
    assert ids(peer.poll(consumer, want=[event_type])) == recorded


def test_a_type_that_never_occurred_gives_an_empty_list(peer, event_type):
    assert peer.poll("LIVE", want=[event_type]) == []


def test_a_last_id_beyond_the_newest_event_brings_nothing(source, peer, event_type):
    # The page refuses it for registered consumers and is silent about LIVE: an empty list is as good.
    event_id = int(source.add_event(event_type))
    answer = peer.answer(peer.request(f"{POLL}:pollEvents", {"component": "LIVE", "last_id": str(event_id + 1000000)}))
    assert answer.error == "InvalidRequest" or answer.result() == []
