"""Probes of the servers: they tell a peer without options of its own when to give a silent connection up (section 1)."""

from __future__ import annotations

import socket
import struct
import time

from Harness.sockets import tcp_port
from Harness.zmtp import shaken_hands
from Harness.waiting import PATIENCE

PLAIN = True
"""These speak the wire's lowest layer, without encryption."""


def next_ping(raw: socket.socket) -> int:
    """The time to live that the next PING carries (ZMTP 3.1, RFC 37), in tenths of a second."""
    raw.settimeout(PATIENCE)
    received, deadline = b"", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        at = received.find(b"\x04PING")
        if at >= 0 and len(received) >= at + 7:
            return struct.unpack(">H", received[at + 5:at + 7])[0]
        data = raw.recv(4096)
        assert data, "the server hung up"
        received += data
    raise AssertionError("no PING")


def test_a_probe_tells_every_peer_when_to_give_up(stream):
    servers = {stream.generator.endpoint: b"DEALER", stream.pusher.endpoint: b"DEALER", stream.pusher.live: b"SUB"}
    connections = [shaken_hands(tcp_port(endpoint), kind) for endpoint, kind in servers.items()]
    assert [next_ping(raw) for raw in connections] == [150] * 3
    for raw in connections:
        raw.close()
