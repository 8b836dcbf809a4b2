"""Ways to say what a test expects: a refusal, a session, separate groups."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from Harness.waiting import eventually
from Harness.wire import CallError, Group, Peer, Subscriber


@contextmanager
def refused(*names: str):
    """The call inside must be answered with an error of one of these names."""
    try:
        yield
    except CallError as error:
        assert error.name in names, f"refused with {error}"
    else:
        pytest.fail(f"answered with a result, not with {' or '.join(names)}", pytrace=False)


def ready_when_free(peer: Peer, component: str, want: list[str] | None = None, **more) -> None:
    """Asks for a session again and again while the consumer is busy."""
    def try_it() -> bool:
        try:
            return peer.ready(component, want, **more)
        except CallError as error:
            assert error.name == "ConsumerBusy", f"refused with {error}"
            return False

    eventually(try_it, f"a session for {component}")


def be_heard(peer: Peer) -> None:
    """Calls until there is an answer. A connection that comes before the end of the one that has its routing id is not heard; one
    that has said nothing when somebody else's has been closed may be cut, and on a busy machine its first call with it."""
    eventually(peer.is_served, "an answer")


def comes_next(source: Peer, receiver: Peer, event_type: str, data=None, *, seq: int | None = None) -> int:
    """Records an event, which must be all there is in the next group; accepts it, and returns its id."""
    event_id = int(source.add_event(event_type, data))
    group = receiver.next_group()
    assert group.ids == [event_id] and seq in (None, group.seq), f"group {group.seq} with {group.ids}, not {event_id}"
    receiver.accept(group)
    return event_id


def begins_anew(receiver: Peer, count: int) -> list[int]:
    """Accepts groups, of which the first must be that of a new session, until so many events have come; returns their ids."""
    first = receiver.next_group()
    receiver.accept(first)
    assert first.seq == 0
    ids = list(first.ids)
    while len(ids) < count:
        ids += [int(event["id"]) for event in receiver.receive_events(1)]
    return ids


def broadcast_reaches(source: Peer, event_type: str, *subscribers: Subscriber) -> None:
    """Records events until each of the subscribers has one waiting."""
    eventually(lambda: source.add_event(event_type) and all(each.socket.poll(100) for each in subscribers),
               "the broadcast reaches the subscribers", every=0)


def separate_groups(source: Peer, receiver: Peer, event_type: str, count: int) -> list[Group]:
    """Records events one at a time, so that each comes in a group of its own; all stay unanswered."""
    groups = []
    for number in range(count):
        event_id = source.add_event(event_type, number)
        group = receiver.next_group()
        assert group.ids == [int(event_id)]
        groups.append(group)
    return groups
