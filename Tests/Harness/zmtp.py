"""The lowest layer of the wire, written byte by byte (ZMTP 3, RFC 23 and 37)."""

from __future__ import annotations

import socket

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"
PING = b"\x04\x07\x04PING\x00\x00"


def greeting(mechanism: bytes, minor: int = 0) -> bytes:
    """The 64 bytes that either side begins with, before it knows anything of the other."""
    return SIGNATURE + bytes([3, minor]) + mechanism.ljust(20, b"\0") + bytes(32)


def ready(kind: bytes, identity: bytes | None = None) -> bytes:
    """The READY command of a socket of this kind."""
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    if identity is not None:
        body += b"\x08Identity" + len(identity).to_bytes(4, "big") + identity
    if len(body) < 256:
        return b"\x04" + bytes([len(body)]) + body
    return b"\x06" + len(body).to_bytes(8, "big") + body


def shaken_hands(port: int, kind: bytes) -> socket.socket:
    """A connection that may send messages."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    raw.sendall(greeting(b"NULL") + ready(kind))
    received = b""
    # Its greeting and its READY: from now on messages count.
    while len(received) < 64 + 2 or len(received) < 66 + received[65]:
        data = raw.recv(4096)
        assert data, "the server hung up"
        received += data
    return raw
