"""One live session per consumer, across all pushers: busy, stopped, connection closed (section 5).

Whoever competes for it is a peer of the same pusher, and of another one. The lease is far longer than these tests, so that none of them wins by waiting for its end.
"""

import pytest

from Harness.expect import begins_anew, comes_next, ready_when_free, refused, separate_groups
from Harness.waiting import QUIET, eventually
from Harness.wire import Peer


@pytest.fixture(scope="module")
def another(stream):
    return stream.start_pusher()


@pytest.fixture(params=["at the same pusher", "at another pusher"])
def rival(request, stream, another, connect) -> Peer:
    return connect((stream.pusher if "same" in request.param else another).endpoint)


def test_a_second_peer_is_told_that_the_consumer_is_busy(peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    for want in ([event_type], None, ["OTHER"]):
        with refused("ConsumerBusy"):
            rival.ready(consumer, want)


def test_a_refused_rival_changes_nothing_for_the_session(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    [first] = separate_groups(source, peer, event_type, 1)
    with refused("ConsumerBusy"):
        rival.ready(consumer, [event_type])
    peer.accept(first)
    comes_next(source, peer, event_type, seq=1)
    assert rival.groups_within(QUIET) == []


def test_who_stops_before_its_session_has_begun_keeps_nobody_out(source, peer, rival, consumer, event_type):
    for _ in range(3):
        peer.request("futoin.evt.push:1.1:readyToReceive", {"component": consumer, "want": [event_type]})
        assert peer.stop(consumer) is True
    ready_when_free(rival, consumer, [event_type])
    comes_next(source, rival, event_type)
    assert peer.groups_within(QUIET) == []


def test_the_rival_gets_its_session_once_the_first_has_stopped(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    with refused("ConsumerBusy"):
        rival.ready(consumer, [event_type])
    peer.stop(consumer)
    ready_when_free(rival, consumer, [event_type])
    comes_next(source, rival, event_type, seq=0)
    with refused("ConsumerBusy"):
        peer.ready(consumer, [event_type])


def test_the_position_is_stored_at_once_when_the_session_ends(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 3)
    peer.accept(groups[0])
    peer.accept(groups[1])
    peer.stop(consumer)
    # It is waited for, but not for ever.
    eventually(lambda: stream.position(consumer) >= groups[1].ids[-1], "the position is stored")
    assert stream.position(consumer) < groups[2].ids[0]


def test_a_position_whose_row_is_locked_when_the_session_ends_is_stored_afterwards(
        stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 2)
    session = stream.database.open_session()
    session.run("BEGIN")
    session.run(f"SELECT FROM evt_consumers WHERE ident LIKE '%:{consumer}' FOR UPDATE")
    for group in groups:
        peer.accept(group)
    peer.stop(consumer)
    session.run("ROLLBACK")
    session.close()
    eventually(lambda: stream.position(consumer) >= groups[-1].ids[-1], "the position")


def test_what_the_first_had_not_answered_comes_to_the_next(stream, source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 3)
    peer.accept(groups[0])
    peer.stop(consumer)
    eventually(lambda: stream.position(consumer) >= groups[0].ids[-1], "the position is stored")
    ready_when_free(rival, consumer, [event_type])
    assert begins_anew(rival, 2) == groups[1].ids + groups[2].ids


def test_only_the_holder_can_stop_its_session(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    rival.answer(rival.request("futoin.evt.push:1.1:stopReceiving", {"component": consumer}))
    comes_next(source, peer, event_type)
    with refused("ConsumerBusy"):
        rival.ready(consumer, [event_type])


@pytest.mark.parametrize("answered", [True, False], ids=["all answered", "with a group in flight"])
def test_a_closed_connection_lets_another_peer_in_at_once(stream, source, rival, component, event_type, answered):
    first = Peer(stream.pusher.endpoint)
    try:
        first.register(component)
        first.ready(component, [event_type])
        [group] = separate_groups(source, first, event_type, 1)
        if answered:
            first.accept(group)
            first.ping()
    finally:
        first.close()
    ready_when_free(rival, component, [event_type])
    event_id = int(source.add_event(event_type))
    received = []
    while not received or received[-1] != event_id:
        received += [int(event["id"]) for event in rival.receive_events(1)]
    assert received == ([event_id] if answered else [group.ids[0], event_id])


def test_a_receiver_that_was_killed_again_and_again_goes_on_each_time(stream, source, connect, component, event_type):
    expected = []
    for _ in range(5):
        receiver = Peer(stream.pusher.endpoint)
        try:
            receiver.register(component)
            ready_when_free(receiver, component, [event_type])
            expected.append(int(source.add_event(event_type)))
            group = receiver.next_group()
            assert group.seq == 0
            assert group.ids[0] == expected[0], "unanswered events come again"
        finally:
            receiver.close()
    last = connect(stream.pusher.endpoint)
    ready_when_free(last, component, [event_type])
    assert [int(event["id"]) for event in last.receive_events(5)] == expected


def test_the_end_of_another_connection_opens_no_door(stream, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    for _ in range(5):
        passer_by = Peer(stream.pusher.endpoint)
        passer_by.ping()
        passer_by.close()
    rival.groups_within(QUIET)
    with refused("ConsumerBusy"):
        rival.ready(consumer, [event_type])


def test_a_busy_rival_that_leaves_takes_no_session_with_it(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    passing = Peer(stream.pusher.endpoint)
    with refused("ConsumerBusy"):
        passing.ready(consumer, [event_type])
    passing.close()
    peer.groups_within(QUIET)
    comes_next(source, peer, event_type, seq=0)


def test_different_consumers_are_served_side_by_side(source, peer, elsewhere, component, event_type):
    peer.register(component)
    elsewhere.register(f"{component}_b")
    peer.ready(component, [event_type])
    elsewhere.ready(f"{component}_b", [event_type])
    recorded = [source.add_event(event_type) for _ in range(10)]
    for receiver in (peer, elsewhere):
        assert [event["id"] for event in receiver.receive_events(10)] == recorded


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_the_sessions_of_a_pusher_end_with_it(source, peer, second, elsewhere, component, event_type, ending):
    elsewhere.register(component)
    elsewhere.ready(component, [event_type])
    [group] = separate_groups(source, elsewhere, event_type, 1)
    with refused("ConsumerBusy"):
        peer.ready(component, [event_type])
    getattr(second.process, ending)()
    ready_when_free(peer, component, [event_type])
    again = peer.next_group()
    assert (again.seq, again.events) == (0, group.events)
