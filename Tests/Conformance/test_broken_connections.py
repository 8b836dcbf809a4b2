"""Connections at the lowest layer: those that break or never end hurt nobody (section 2), and all are probed (section 1)."""

from __future__ import annotations

import socket
import struct

import pytest
import zmq

from Harness.sockets import tcp_port
from Harness.waiting import PATIENCE, eventually
from Harness.wire import PING
from Harness.zmtp import greeting, ready, shaken_hands

PLAIN = True
"""These speak the wire's lowest layer, without encryption."""


@pytest.mark.parametrize("process", ["generator", "pusher"])
def test_a_routing_id_chosen_twice_hurts_nobody(stream, connect, process):
    """The second one is not heard until the first is gone; then it is."""
    endpoint = getattr(stream, process).endpoint
    witness = connect(endpoint)
    first = connect(endpoint, routing_id=b"chosen twice")
    assert first.ping() == {"echo": 1}
    second = connect(endpoint, routing_id=b"chosen twice")
    for _ in range(3):
        second.request(f"{PING}:ping", {"echo": 2})
        assert first.ping() == {"echo": 1}
    first.close()
    second.socket.setsockopt(zmq.SNDTIMEO, 100)
    eventually(second.is_served, "the routing id for the second")
    assert witness.ping() == {"echo": 1}


ENDLESS = {
    "frames of a message that never ends": ("pusher", b"DEALER", b"\x03" + struct.pack(">Q", 60_000) + b"x" * 60_000),
    "frames of another, at the generator": ("generator", b"DEALER", b"\x01\x10" + b"x" * 16),
    "one subscription again and again": ("live", b"SUB", b"\x00\x02\x01A" * 1000),
    "ever new subscriptions": ("live", b"SUB", b"".join(b"\x00\x09\x01" + b"%08d" % number for number in range(1000))),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_cut(stream, connect, kind):
    """A gigabyte is sent, if it is taken: long before there is an end, others are served, and memory stays what it was."""
    where, socket_type, payload = ENDLESS[kind]
    endpoint = stream.pusher.live if where == "live" else getattr(stream, where).endpoint
    server = stream.generator if where == "generator" else stream.pusher
    witness = connect(server.endpoint)
    before = server.process.memory()
    raw = shaken_hands(tcp_port(endpoint), socket_type)
    if socket_type == b"DEALER":
        # It is heard of: what comes then is not taken for silence.
        call = b'{"f":"futoin.ping:1.0:ping","p":{"echo":1},"rid":"C1"}'
        raw.sendall(b"\x00" + bytes([len(call)]) + call)
        answer = b""
        while b"echo" not in answer:
            data = raw.recv(4096)
            assert data, "the server hung up"
            answer += data
    # Cut; or, as the system has it at times, just not taken any more.
    raw.settimeout(5)
    with pytest.raises(OSError):
        for _ in range((1 << 30) // len(payload)):
            raw.sendall(payload)
    raw.close()
    assert witness.ping() == {"echo": 1}
    assert server.process.memory() < before + 300


def test_a_routing_id_longer_than_there_are_is_cut(stream, connect):
    """libzmq takes it; ZMTP has 255 bytes."""
    identity = b"x" * 100_000
    raw = socket.create_connection(("127.0.0.1", tcp_port(stream.pusher.endpoint)), timeout=60)
    raw.sendall(greeting(b"NULL") + ready(b"DEALER", identity))
    call = b'{"f":"futoin.ping:1.0:ping","p":{"echo":1},"rid":"C1"}'
    raw.sendall(b"\x00" + bytes([len(call)]) + call)
    received = b""
    try:
        while data := raw.recv(4096):
            received += data
    except ConnectionError:
        pass
    raw.close()
    assert b"echo" not in received
    assert connect(stream.pusher.endpoint).ping() == {"echo": 1}


def next_ping(raw: socket.socket) -> int:
    """The time to live that the next PING carries (ZMTP 3.1, RFC 37), in tenths of a second."""
    raw.settimeout(PATIENCE)
    received = b""
    while (at := received.find(b"\x04PING")) < 0 or len(received) < at + 7:
        data = raw.recv(4096)
        assert data, "the server hung up"
        received += data
    return struct.unpack(">H", received[at + 5:at + 7])[0]


def test_a_probe_tells_every_peer_when_to_give_up(stream):
    servers = {stream.generator.endpoint: b"DEALER", stream.pusher.endpoint: b"DEALER", stream.pusher.live: b"SUB"}
    connections = [shaken_hands(tcp_port(endpoint), kind) for endpoint, kind in servers.items()]
    assert [next_ping(raw) for raw in connections] == [150] * 3
    for raw in connections:
        raw.close()
