"""What one user may ask for at most; others notice nothing (section 7). Beyond it the answer is DefenseRejected."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from Harness.expect import refused
from Harness.sockets import tcp_port
from Harness.waiting import QUIET, eventually
from Harness.wire import PING, NoMessage

USERS = {"eager": "gen poll push live", "modest": "gen poll push live"}
SETTINGS = {"EVT_USER_SESSIONS": "3", "EVT_USER_CONSUMERS": "4", "EVT_USER_CONNECTIONS": "12", "EVT_USER_REQUESTS": "500",
            "EVT_MAX_CONNECTIONS": "40"}


@pytest.fixture
def clean(sql):
    """Consumers are the module's; each test begins without any."""
    sql().run("DELETE FROM evt_consumers")


def test_sessions(join, clean):
    peers = [join("eager") for _ in range(4)]
    for number, peer in enumerate(peers):
        peer.register(f"S{number}")
    for number, peer in enumerate(peers[:3]):
        assert peer.ready(f"S{number}") is True
    with refused("DefenseRejected"):
        peers[3].ready("S3")
    with refused("DefenseRejected"):
        peers[3].ready("LIVE")
    # One that goes on is none too many; nor is another user's.
    assert peers[0].ready("S0") is True
    other = join("modest")
    other.register("S0")
    assert other.ready("S0") is True
    assert peers[0].stop("S0") is True
    assert peers[3].ready("S3") is True
    for number, peer in enumerate(peers):
        peer.stop(f"S{number}")
    other.stop("S0")


def test_consumers(join, clean):
    peer = join("eager")
    for number in range(4):
        peer.register(f"C{number}")
    with refused("DefenseRejected"):
        peer.register("C4")
    assert peer.register("C0") is True, "it is registered"
    assert join("modest").register("C4") is True


def test_connections(join):
    peers = [join("eager") for _ in range(12)]
    for peer in peers:
        assert peer.ping() == {"echo": 1}
    excess = join("eager")
    rid = excess.request(f"{PING}:ping", {"echo": 1})
    with refused("DefenseRejected"):
        excess.answer(rid).result()
    assert join("modest").ping() == {"echo": 1}
    for peer in peers[:3]:
        assert peer.ping() == {"echo": 1}
        peer.close()
    eventually(lambda: join("eager").is_served(), "a place for a new connection")


def test_connections_over_which_nothing_of_use_comes(join):
    """They count, too: more of one user's than there may be of all keep nobody out."""
    for _ in range(45):
        join("eager").send(b"x")
    assert join("modest").ping() == {"echo": 1}


@pytest.mark.parametrize("process", ["generator", "pusher"])
def test_requests(stream, join, process):
    endpoint = getattr(stream, process).endpoint
    flood, other = join("eager", endpoint), join("modest", endpoint)
    other.ping()
    answers: list[dict] = []

    def is_refused() -> bool:
        # Where sending takes long, it may be no flood.
        for number in range(3000):
            flood.request(f"{PING}:ping", {"echo": number})
        assert other.ping() == {"echo": 1}, "another user waits"
        with suppress(NoMessage):
            while True:
                answers.append(flood.next_answer(timeout=QUIET).body)
        return any("e" in answer for answer in answers)
    eventually(is_refused, "a refusal")
    assert {answer.get("e") for answer in answers} == {None, "DefenseRejected"}
    while sum("r" in answer for answer in answers) < 500:
        answers.append(flood.next_answer().body)
    eventually(flood.is_served, "the end of the flood")


def test_silent_connections_keep_nobody_out(stream, join):
    """More of them than there may be connections: the oldest that say nothing have to go."""
    address = ("127.0.0.1", tcp_port(stream.pusher.endpoint))
    silent = [socket.create_connection(address, timeout=60) for _ in range(100)]
    try:
        assert join("modest").ping() == {"echo": 1}
    finally:
        for connection in silent:
            connection.close()
