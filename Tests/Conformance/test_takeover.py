"""A routing id is no proof of anything: another user that chooses it gets nothing of what it stands for (section 7)."""

from __future__ import annotations

from Harness.expect import be_heard, ready_when_free, refused
from Harness.waiting import QUIET

USERS = {"victim": "poll push live", "thief": "poll push live"}


def test_a_routing_id_in_use_stays_with_its_connection(join, source, component):
    victim = join("victim", routing_id=b"stable")
    victim.register(component)
    victim.ready(component)
    thief = join("thief", routing_id=b"stable")
    thief.request("futoin.ping:1.0:ping", {"echo": 1})
    ids = [source.add_event("SOME", number) for number in range(20)]
    seen = victim.receive_until(ids[-1])
    assert [i for i in seen if i in ids] == ids
    assert not thief.groups_within(QUIET)


def test_a_routing_id_that_is_free_again_brings_no_session_with_it(join, source, component):
    victim = join("victim", routing_id=b"left")
    victim.register(component)
    victim.ready(component)
    first = source.add_event("SOME", "first")
    group = victim.next_group()
    while first not in [event["id"] for event in group.events]:
        victim.accept(group)
        group = victim.next_group()
    victim.close()
    # Within the victim's lease. What is not confirmed would be sent again to whoever the session is taken for.
    thief = join("thief", routing_id=b"left")
    be_heard(thief)
    with refused("NotRegistered"):
        thief.ready(component)
    thief.accept(group)
    source.add_event("SOME", "second")
    assert not thief.groups_within(QUIET)
    # The thief's answer confirmed nothing.
    again = join("victim")
    ready_when_free(again, component)
    assert first in [event["id"] for event in again.receive_events(1)]


def test_an_answer_does_not_go_to_another_user(join, source, component):
    """A poll is answered after its peer has gone and another user has its routing id."""
    for number in range(20):
        name = f"poller {number}".encode()
        victim = join("victim", routing_id=name)
        for _ in range(20):
            victim.request("futoin.evt.poll:1.1:pollEvents", {"component": "LIVE", "last_id": None, "want": None})
        victim.close(linger=1)
        thief = join("thief", routing_id=name)
        thief.request("futoin.ping:1.0:ping", {"echo": 1})
        thief.groups_within(0.05)
        for message in thief.received:
            assert message.body.get("r") == {"echo": 1}, "another's answer"


def test_the_same_user_keeps_its_session_over_a_reconnect(join, source, component):
    victim = join("victim", routing_id=b"faithful")
    victim.register(component)
    victim.ready(component)
    source.add_event("SOME", 1)
    victim.receive_events(1)
    victim.close()
    again = join("victim", routing_id=b"faithful")
    be_heard(again)
    last = source.add_event("SOME", 2)
    again.receive_until(last)


def test_one_user_cannot_take_anothers_consumer(join, component):
    victim = join("victim")
    victim.register(component)
    victim.ready(component)
    thief = join("thief")
    thief.register(component)
    assert thief.ready(component) is True, "it has one of this name of its own"
    assert victim.ping() == {"echo": 1}
    thief.stop(component)
    assert victim.ready(component) is True
