"""A session is a lease: it ends when the peer is idle, and any message renews it (section 5)."""

import time

from Harness.expect import ready_when_free, refused, separate_groups

LEASE = 10.0
"""Seconds. None who is to keep a session may stand still for so long, on a busy machine either."""

SETTINGS = {"EVT_SESSION_TIMEOUT": f"{LEASE:.0f}s"}


def test_an_idle_peer_loses_its_session_to_the_next(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    ready_when_free(rival, consumer, [event_type])
    again = rival.next_group()
    assert (again.seq, again.events) == (0, group.events)


def test_late_answers_of_the_old_holder_do_not_count(stream, source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    ready_when_free(rival, consumer, [event_type])
    again = rival.next_group()
    peer.accept(group)
    peer.ping()
    with refused("ConsumerBusy"):
        rival.ping()
        peer.ready(consumer, [event_type])
    assert stream.position(consumer) < group.ids[0]
    rival.accept(again)
    source.add_event(event_type)
    assert rival.next_group().seq == 1


def test_after_the_lease_ran_out_the_session_is_a_new_one(source, peer, rival, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 1)
    peer.accept(groups[0])
    ready_when_free(rival, consumer, [event_type])
    rival.stop(consumer)
    ready_when_free(peer, consumer, [event_type])
    event_id = source.add_event(event_type)
    group = peer.next_group()
    assert (group.seq, group.ids) == (0, [int(event_id)])


def test_a_peer_that_is_heard_of_keeps_its_session(stream, source, connect, rival, component, event_type):
    """In whatever way: by a ping, by readyToReceive, by its answers to onEvents, by another call."""
    peers = {}
    for number, renewal in enumerate(["ping", "readyToReceive", "answers", "another call"]):
        peer = connect(stream.pusher.endpoint)
        name, wanted = f"{component}_{number}", event_type + "ABCD"[number]
        peer.register(name)
        peer.ready(name, [wanted])
        peers[renewal] = (peer, name, wanted)
    events = dict.fromkeys(peers, 0)
    deadline = time.monotonic() + 1.3 * LEASE
    while time.monotonic() < deadline:
        for renewal, (peer, name, wanted) in peers.items():
            if renewal == "ping":
                peer.ping()
            elif renewal == "readyToReceive":
                peer.ready(name, [wanted])
            elif renewal == "another call":
                peer.register(name)
            else:
                source.add_event(wanted)
                group = peer.next_group()
                assert group.seq == events[renewal]
                peer.accept(group)
                events[renewal] += 1
            with refused("ConsumerBusy"):
                rival.ready(name, [wanted])
        time.sleep(0.1)
    for renewal, (peer, _, wanted) in peers.items():
        event_id = source.add_event(wanted)
        group = peer.next_group()
        assert (group.seq, group.ids) == (events[renewal], [int(event_id)]), renewal


def test_a_live_session_ends_with_its_lease_too(source, peer, event_type):
    peer.ready("LIVE", [event_type])
    group = separate_groups(source, peer, event_type, 1)[0]
    peer.accept(group)
    peer.ping()
    peer.groups_within(1.5 * LEASE)  # says nothing meanwhile
    source.add_event(event_type)
    assert peer.groups_within(0.5) == []
