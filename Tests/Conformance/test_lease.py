"""A session is a lease: it ends when the peer is idle, and any message renews it (section 5)."""

import time
from dataclasses import dataclass

import pytest

from Harness.expect import comes_next, ready_when_free, refused, separate_groups
from Harness.wire import Group, Peer

LEASE = 10.0
"""Seconds. None who is to keep a session may stand still for so long, on a busy machine either."""

SETTINGS = {"EVT_SESSION_TIMEOUT": f"{LEASE:.0f}s"}


@dataclass
class Idle:
    """A session whose peer has one group and says nothing more."""

    peer: Peer
    component: str
    event_type: str
    group: Group
    begun: float


@pytest.fixture(scope="module", autouse=True)
def idle(stream):
    """Idle sessions by their component: all begin before the first test, so that they end together."""
    source, sessions = Peer(stream.generator.endpoint), {}
    for name in ("LIVE", "loses", "late", "again"):
        peer, event_type = Peer(stream.pusher.endpoint), f"IDLE_{name.upper()}"
        if name != "LIVE":
            peer.register(name)
        peer.ready(name, [event_type])
        [group] = separate_groups(source, peer, event_type, 1)
        if name in ("LIVE", "again"):
            peer.accept(group)
        sessions[name] = Idle(peer, name, event_type, group, time.monotonic())
    yield sessions
    for each in (source, *(session.peer for session in sessions.values())):
        each.close()


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
        comes_next(source, peer, wanted, seq=events[renewal])


def test_an_idle_peer_loses_its_session_to_the_next(rival, idle):
    session = idle["loses"]
    ready_when_free(rival, session.component, [session.event_type])
    again = rival.next_group()
    assert (again.seq, again.events) == (0, session.group.events)


def test_late_answers_of_the_old_holder_do_not_count(stream, source, rival, idle):
    session = idle["late"]
    ready_when_free(rival, session.component, [session.event_type])
    again = rival.next_group()
    session.peer.accept(session.group)
    session.peer.ping()
    with refused("ConsumerBusy"):
        rival.ping()
        session.peer.ready(session.component, [session.event_type])
    assert stream.position(session.component) < session.group.ids[0]
    rival.accept(again)
    comes_next(source, rival, session.event_type, seq=1)


def test_after_the_lease_ran_out_the_session_is_a_new_one(source, rival, idle):
    session = idle["again"]
    ready_when_free(rival, session.component, [session.event_type])
    rival.stop(session.component)
    ready_when_free(session.peer, session.component, [session.event_type])
    comes_next(source, session.peer, session.event_type, seq=0)


def test_a_live_session_ends_with_its_lease_too(source, idle):
    session = idle["LIVE"]
    session.peer.groups_within(max(0.1, session.begun + 1.5 * LEASE - time.monotonic()))  # says nothing meanwhile
    source.add_event(session.event_type)
    assert session.peer.groups_within(0.5) == []
