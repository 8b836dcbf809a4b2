"""Connections that break while much of what they sent is still waiting: nobody but them may be hurt (section 2)."""

from __future__ import annotations

import socket
import struct

import pytest
import zmq

from Harness.expect import eventually
from Harness.pipeline import tcp_port
from Harness.wire import PING, NoMessage

PLAIN = True
"""These speak the wire's lowest layer, without encryption."""

GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""ZMTP 3.0, without security (RFC 23)."""


def ready(kind: bytes) -> bytes:
    """The READY command of a socket of this kind."""
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    return b"\x04" + bytes([len(body)]) + body


def breaking(port: int, kind: bytes, payload: bytes) -> None:
    """Shakes hands, sends, and resets the connection."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    try:
        raw.sendall(GREETING + ready(kind))
        received = b""
        # Its greeting of 64 bytes and its READY: from now on messages count.
        while len(received) < 64 + 2 or len(received) < 66 + received[65]:
            data = raw.recv(4096)
            assert data, "the server hung up"
            received += data
        try:
            raw.sendall(payload)
        except ConnectionError:
            # Cut for what it does; good.
            return
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        raw.close()


HEARTBEAT = b"\x04\x07\x04PING\x00\x00"
PAYLOADS = {
    "small messages and heartbeats": (b"\x00\x01x" * 400 + HEARTBEAT) * 20,
    "calls and heartbeats": (b"\x00\x40" + b'{"f":"futoin.ping:1.0:ping","p":{"echo":1},"rid":"C1"}'.ljust(64) + HEARTBEAT) * 5000,
    "half a message": b"\x02" + struct.pack(">Q", 8 << 20) + b"x" * 70_000,
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("process", ["generator", "pusher"])



def test_a_flood_that_breaks_off_hurts_nobody(stream, connect, process, payload):
    endpoint = getattr(stream, process).endpoint
    peer = connect(endpoint)
    for _ in range(20):
        breaking(tcp_port(endpoint), b"DEALER", PAYLOADS[payload])
        assert peer.ping() == {"echo": 1}


def test_subscriptions_that_break_off_hurt_nobody(stream, connect, source, subscribe):
    subscriptions = b"".join(b"\x00" + bytes([3 + 1]) + b"\x01T%02d" % number for number in range(100))
    for _ in range(20):
        breaking(tcp_port(stream.pusher.live), b"SUB", subscriptions * 3 + HEARTBEAT)
    listener = subscribe(stream, source, "T_BREAK_")
    last = source.add_event("T_BREAK_END")
    assert listener.next_event()["id"] == last
    assert connect(stream.pusher.endpoint).ping() == {"echo": 1}


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

    def answered() -> bool:
        try:
            return second.answer(second.request(f"{PING}:ping", {"echo": 3}), timeout=0.5).result() == {"echo": 3}
        except (NoMessage, zmq.Again):
            return False
    eventually(answered, "the routing id for the second")
    assert witness.ping() == {"echo": 1}


def memory(pid: int) -> int:
    """Megabytes of resident memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024


def shaken_hands(port: int, kind: bytes) -> socket.socket:
    """A connection that may send messages."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    raw.sendall(GREETING + ready(kind))
    received = b""
    while len(received) < 64 + 2 or len(received) < 66 + received[65]:
        data = raw.recv(4096)
        assert data, "the server hung up"
        received += data
    return raw


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
    before = memory(server.process.pid)
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
    assert memory(server.process.pid) < before + 300


def test_a_routing_id_longer_than_there_are_is_cut(stream, connect):
    """libzmq takes it; ZMTP has 255 bytes."""
    identity = b"x" * 100_000
    body = (b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER" + b"\x08Identity"
            + struct.pack(">I", len(identity)) + identity)
    raw = socket.create_connection(("127.0.0.1", tcp_port(stream.pusher.endpoint)), timeout=60)
    raw.sendall(GREETING + b"\x06" + struct.pack(">Q", len(body)) + body)
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
