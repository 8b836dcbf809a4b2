"""Two pushers on one database: a consumer has one session across both (section 5)."""

import pytest

from Harness.expect import eventually, ready_when_free, refused, separate_groups


@pytest.fixture
def second(stream):
    """Another pusher on the same database."""
    pusher = stream.start_pusher()
    yield pusher
    if pusher.process.is_running():
        assert pusher.process.stop() == 0


@pytest.fixture
def elsewhere(second, connect):
    """A peer of the other pusher."""
    return connect(second.endpoint)


def test_a_consumer_is_busy_across_pushers(source, peer, elsewhere, consumer, event_type):
    peer.ready(consumer, [event_type])
    with refused("ConsumerBusy"):
        elsewhere.ready(consumer, [event_type])
    event_id = source.add_event(event_type)
    group = peer.next_group()
    assert (group.seq, group.ids) == (0, [int(event_id)])


def test_the_other_pusher_takes_over_when_the_session_has_ended(stream, source, peer, elsewhere, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 2)
    peer.accept(groups[0])
    peer.stop(consumer)
    eventually(lambda: stream.position(consumer) >= groups[0].ids[-1], "the position is stored")
    ready_when_free(elsewhere, consumer, [event_type])
    group = elsewhere.next_group()
    assert (group.seq, group.ids) == (0, groups[1].ids)
    elsewhere.accept(group)
    eventually(lambda: stream.position(consumer) >= group.ids[-1], "the position is stored")
    with refused("ConsumerBusy"):
        peer.ready(consumer, [event_type])


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


def test_a_closed_connection_lets_a_peer_of_the_other_pusher_in_at_once(
        source, peer, elsewhere, component, event_type):
    peer.register(component)
    peer.ready(component, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.close()
    ready_when_free(elsewhere, component, [event_type])
    again = elsewhere.next_group()
    assert (again.seq, again.events) == (0, group.events)
