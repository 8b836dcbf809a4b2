"""Ways to say what a test expects: a condition in the end, a refusal, a session, separate groups."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from Harness.wire import PATIENCE, CallError, Group, Peer

QUIET = 0.7
"""Seconds to watch when nothing must happen."""


def eventually(condition, what: str, timeout: float = PATIENCE):
    """Waits until the condition holds, and returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
        time.sleep(0.05)
    return value


def throughout(condition, what: str, seconds: float = QUIET) -> None:
    """Watches for a while that the condition holds all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay so: {what}"
        time.sleep(0.05)


@contextmanager
def refused(*names: str):
    """The call inside must be answered with an error of one of these names."""
    try:
        yield
    except CallError as error:
        assert error.name in names, f"refused with {error}"
    else:
        pytest.fail(f"answered with a result, not with {' or '.join(names)}", pytrace=False)


def ready_when_free(peer: Peer, component: str, want: list[str] | None = None) -> None:
    """Asks for a session again and again while the consumer is busy."""
    def try_it() -> bool:
        try:
            return peer.ready(component, want)
        except CallError as error:
            assert error.name == "ConsumerBusy", f"refused with {error}"
            return False

    eventually(try_it, f"a session for {component}")


def separate_groups(source: Peer, receiver: Peer, event_type: str, count: int) -> list[Group]:
    """Records events one at a time, so that each comes in a group of its own; all stay unanswered."""
    groups = []
    for number in range(count):
        event_id = source.add_event(event_type, number)
        group = receiver.next_group()
        assert group.ids == [int(event_id)]
        groups.append(group)
    return groups
