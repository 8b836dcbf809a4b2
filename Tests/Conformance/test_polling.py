"""pollEvents of a registered consumer: confirming, filtering, limits (section 4)."""

import json

import pytest

from Harness.expect import refused
from Harness.waiting import eventually
from Harness.wire import POLL, PUSH

NOT_A_WANT = [[], "T", 1, True, {}, ["lower"], ["A" * 17], [""], ["A1"], ["A\n"], [1], [None], [["A"]], ["OK", "no"]]
NOT_AN_ID = ["", "0", "01", "-1", "+1", "1.0", "1e3", "x", " 1", "1 ", "1\n", "1" * 19, "9" * 30, "0x10",
             1, True, [], {}]


def ids(events: list[dict]) -> list[str]:
    return [event["id"] for event in events]


def test_polling_brings_the_events_after_the_stored_position_in_id_order(source, peer, consumer, event_type):
    recorded = [source.add_event(event_type, number) for number in range(10)]
    events = peer.poll(consumer, want=[event_type])
    assert ids(events) == recorded
    assert [event["data"] for event in events] == list(range(10))


def test_unconfirmed_events_come_again(source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(3)]
    assert ids(peer.poll(consumer, want=[event_type])) == recorded
    assert ids(peer.poll(consumer, want=[event_type])) == recorded


def test_last_id_confirms_everything_up_to_it(stream, source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(5)]
    assert ids(peer.poll(consumer, last_id=recorded[2], want=[event_type])) == recorded[3:]
    eventually(lambda: stream.position(consumer) == int(recorded[2]), "the position is stored")
    assert ids(peer.poll(consumer, want=[event_type])) == recorded[3:]


def test_the_stored_position_never_moves_backward(stream, source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(5)]
    peer.poll(consumer, last_id=recorded[3], want=[event_type])
    assert ids(peer.poll(consumer, last_id=recorded[0], want=[event_type])) == recorded[4:]
    assert stream.position(consumer) >= int(recorded[3])


def test_everything_confirmed_leaves_nothing_to_poll(stream, source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(3)]
    assert peer.poll(consumer, last_id=recorded[-1], want=[event_type]) == []
    assert stream.position(consumer) >= int(recorded[-1])
    later = source.add_event(event_type)
    assert ids(peer.poll(consumer, want=[event_type])) == [later]


def test_a_last_id_beyond_the_newest_event_is_refused_and_confirms_nothing(stream, source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(2)]
    for beyond in (str(int(recorded[-1]) + 1000000), "9" * 18):
        with refused("InvalidRequest"):
            peer.poll(consumer, last_id=beyond, want=[event_type])
    assert stream.position(consumer) < int(recorded[0])
    assert ids(peer.poll(consumer, want=[event_type])) == recorded


@pytest.mark.parametrize("last_id", NOT_AN_ID, ids=json.dumps)
def test_last_id_must_be_an_event_id(peer, either, last_id):
    with refused("InvalidRequest"):
        peer.poll(either, last_id=last_id)


@pytest.mark.parametrize("want", NOT_A_WANT, ids=json.dumps)
@pytest.mark.parametrize("function", [f"{POLL}:pollEvents", f"{PUSH}:pollEvents", f"{PUSH}:readyToReceive"])
def test_want_must_be_null_or_a_list_of_types(peer, either, function, want):
    with refused("InvalidRequest"):
        peer.call(function, component=either, want=want)


def test_only_wanted_types_come(source, peer, either, event_type, other_type):
    recorded = [source.add_event(kind) for kind in (event_type, other_type, "NOISE", event_type, "NOISE")]
    assert ids(peer.poll(either, want=[event_type])) == [recorded[0], recorded[3]]
    assert ids(peer.poll(either, want=[other_type])) == [recorded[1]]
    assert ids(peer.poll(either, want=[other_type, event_type])) == [recorded[0], recorded[1], recorded[3]]


def test_a_type_is_matched_as_a_whole(source, peer, consumer, event_type):
    source.add_event(event_type + "X")
    wanted = source.add_event(event_type)
    assert ids(peer.poll(consumer, want=[event_type])) == [wanted]


@pytest.mark.parametrize("params", [{}, {"want": None}, {"last_id": None}, {"last_id": None, "want": None}],
                         ids=json.dumps)
def test_null_and_absent_parameters_mean_no_confirmation_and_all_types(
        source, peer, component, event_type, other_type, params):
    before = source.add_event("BEFORE")
    peer.register(component)
    peer.poll(component, last_id=before)  # so that nothing of the other tests is left
    recorded = [source.add_event(event_type), source.add_event(other_type)]
    assert ids(peer.call(f"{POLL}:pollEvents", component=component, **params)) == recorded


def test_passing_over_unwanted_events_loses_no_wanted_one(stream, source, peer, consumer, event_type, other_type):
    unwanted = [source.add_event(other_type) for _ in range(5)]
    assert peer.poll(consumer, want=[event_type]) == []
    assert stream.position(consumer) <= int(unwanted[-1])
    wanted = source.add_event(event_type)
    assert ids(peer.poll(consumer, want=[event_type])) == [wanted]
    assert ids(peer.poll(consumer, want=[event_type])) == [wanted]


def test_unwanted_events_before_a_wanted_one_stay_until_it_is_confirmed(source, peer, consumer, event_type, other_type):
    unwanted = source.add_event(other_type)
    wanted = source.add_event(event_type)
    assert ids(peer.poll(consumer, want=[event_type])) == [wanted]
    later = source.add_event(event_type)
    assert ids(peer.poll(consumer, last_id=wanted, want=[event_type, other_type])) == [later]
    assert int(unwanted) < int(wanted) < int(later)


def test_an_answer_has_at_most_100_events(source, peer, either, event_type):
    rids = [source.request("futoin.evt.gen:1.1:addEvent", {"type": event_type, "data": n}) for n in range(250)]
    recorded = [source.answer(rid).result() for rid in rids]
    received, last_id = [], None
    while chunk := peer.poll(either, last_id=last_id, want=[event_type]):
        assert len(chunk) <= 100
        received += ids(chunk)
        last_id = received[-1]
    assert received == recorded


def test_consumers_do_not_share_their_positions(source, peer, connect, stream, component, event_type):
    peer.register(component)
    other = f"{component}_b"
    peer.register(other)
    recorded = [source.add_event(event_type) for _ in range(3)]
    assert peer.poll(component, last_id=recorded[-1], want=[event_type]) == []
    assert ids(peer.poll(other, want=[event_type])) == recorded


def test_polling_and_sessions_share_the_position(stream, source, peer, consumer, event_type):
    first, second = source.add_event(event_type), source.add_event(event_type)
    peer.poll(consumer, last_id=first, want=[event_type])
    peer.ready(consumer, [event_type])
    assert ids(peer.receive_events(1)) == [second]
    peer.stop(consumer)
    eventually(lambda: peer.poll(consumer, want=[event_type]) == [], "the accepted event counts as confirmed")
