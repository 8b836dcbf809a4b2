"""While the database cannot be reached: errors with a name, and everything goes on afterwards (section 2)."""

import pytest

from Harness.expect import separate_groups
from Harness.waiting import PATIENCE, eventually
from Harness.wire import GEN, POLL, CallError, NoMessage, Peer

PATIENT = 2 * PATIENCE
"""A process may try for a while before it gives a call up."""


def works_again(attempt):
    """Repeats the call until it is answered without InternalError."""
    def once() -> tuple | None:
        try:
            return (attempt(),)
        except CallError as error:
            assert error.name == "InternalError", f"refused with {error}"
            return None
        except NoMessage:
            return None
    return eventually(once, "calls are served again", timeout=PATIENT)[0]


@pytest.fixture
def outage(stream, source, peer):
    """Cuts the database off, and lets everybody in again in the end at the latest."""
    class Outage:
        def begin(self):
            stream.database.cut_off()

        def end(self):
            stream.database.let_in()

    outage = Outage()
    yield outage
    outage.end()
    works_again(lambda: source.add_event("AFTER"))
    works_again(lambda: peer.register("after"))


def error_in_outage(peer: Peer, function: str, params: dict) -> str:
    return peer.answer(peer.request(function, params), timeout=PATIENT).error


def test_an_event_that_cannot_be_recorded_is_an_internal_error(outage, source, event_type):
    source.add_event(event_type)
    outage.begin()
    assert error_in_outage(source, f"{GEN}:addEvent", {"type": event_type, "data": 1}) == "InternalError"
    assert source.ping() == {"echo": 1}
    outage.end()
    assert int(works_again(lambda: source.add_event(event_type))) > 0


def test_a_poll_that_cannot_be_served_is_an_internal_error(outage, source, peer, consumer, event_type):
    event_id = source.add_event(event_type)
    outage.begin()
    params = {"component": consumer, "last_id": None, "want": [event_type]}
    assert error_in_outage(peer, f"{POLL}:pollEvents", params) == "InternalError"
    assert peer.ping() == {"echo": 1}
    outage.end()
    assert [event["id"] for event in works_again(lambda: peer.poll(consumer, want=[event_type]))] == [event_id]


def test_a_receiver_misses_nothing_over_an_outage(outage, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    for group in separate_groups(source, peer, event_type, 2):
        peer.accept(group)
    outage.begin()
    assert peer.ping() == {"echo": 1}
    outage.end()
    expected = {works_again(lambda: source.add_event(event_type, number)) for number in range(5)}
    seen = set()

    def keep_receiving() -> bool:
        # As any receiver does: renew the lease, accept what comes.
        works_again(lambda: peer.ready(consumer, [event_type]))
        try:
            group = peer.next_group(timeout=0.5)
            peer.accept(group)
            seen.update(event["id"] for event in group.events)
        except NoMessage:
            pass
        return expected <= seen

    eventually(keep_receiving, "all events have come", timeout=PATIENT)


def test_the_broadcast_goes_on_after_an_outage(outage, stream, source, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    outage.begin()
    outage.end()
    event_id = works_again(lambda: source.add_event(event_type))
    eventually(lambda: subscriber.next_event(timeout=PATIENT)["id"] == event_id, "the event comes through")
