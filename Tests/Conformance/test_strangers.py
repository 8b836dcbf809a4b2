"""Who is not let in gets no byte (section 7): unknown keys, plaintext peers, wrong server keys."""

from __future__ import annotations

import socket as sockets
import time

import pytest
import zmq

from Harness.expect import broadcast_reaches
from Harness.keys import Keys, NoKeys
from Harness.sockets import tcp_port
from Harness.waiting import QUIET
from Harness.wire import GEN, PING, Peer, Subscriber

USERS: dict[str, str] = {}

GREETING = 64
"""Bytes that either side of ZMTP begins with, before it knows anything of the other."""


def no_keys(keyring) -> NoKeys:
    return NoKeys()


def unknown_key(keyring) -> Keys:
    return keyring.keys("stranger")


def wrong_server_key(keyring) -> Keys:
    return keyring.keys("local", server=keyring.keys("stranger").public)


STRANGERS = [no_keys, unknown_key, wrong_server_key]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("process", ["generator", "pusher"])
def test_a_stranger_gets_no_answer(stream, keyring, connect, source, process, stranger):
    peer = connect(getattr(stream, process).endpoint, keys=stranger(keyring))
    for function in (f"{PING}:ping", f"{GEN}:addEvent"):
        peer.request(function, {"echo": 1} if "ping" in function else {"type": "STRANGE", "data": 1})
    source.add_event("SOME")
    assert not peer.socket.poll(QUIET * 1000)
    assert int(stream.database.value("SELECT count(*) FROM evt_queue WHERE type = 'STRANGE'")) == 0


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_no_broadcast(stream, keyring, opened, source, stranger):
    entitled, peer = Subscriber(stream.pusher.live, ""), Subscriber(stream.pusher.live, "", keys=stranger(keyring))
    opened.extend([entitled, peer])
    broadcast_reaches(source, "SOME", entitled)
    source.add_event("SOME")
    entitled.next_event()
    assert not peer.socket.poll(QUIET * 1000)


@pytest.mark.parametrize("endpoint", ["generator", "pusher", "live"])
@pytest.mark.parametrize("greeting", [
    b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL" + bytes(48),
    b"\xff" + bytes(7) + b"\x01\x7f\x03\x00PLAIN" + bytes(47), b"\xff" + bytes(7) + b"\x01\x7f\x03\x00CURVE" + bytes(47) + b"x" * 500,
    b"\x00" * 1000, bytes(range(256)) * 4,
])
def test_nothing_but_the_greeting_is_sent_to_who_has_not_shaken_hands(stream, source, endpoint, greeting):
    address = {"generator": stream.generator.endpoint, "pusher": stream.pusher.endpoint, "live": stream.pusher.live}[endpoint]
    with sockets.create_connection(("127.0.0.1", tcp_port(address)), timeout=60) as raw:
        raw.sendall(greeting)
        source.add_event("SECRET", "SECRET")
        received = b""
        deadline = time.monotonic() + QUIET
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                data = raw.recv(65536)
            except (TimeoutError, ConnectionError):
                break
            if not data:
                break
            received += data
    assert len(received) <= GREETING and b"SECRET" not in received


def test_somebody_who_is_let_in_is_served_beside_strangers(stream, keyring, connect, source):
    strangers = [connect(stream.pusher.endpoint, keys=stranger(keyring)) for stranger in STRANGERS * 10]
    for peer in strangers:
        peer.request(f"{PING}:ping", {"echo": 1})
    assert connect(stream.pusher.endpoint).ping() == {"echo": 1}


def test_a_client_does_not_speak_to_a_server_with_another_key(keyring, opened):
    """The other direction: what a client sends is for the server it knows."""
    impostor = zmq.Context.instance().socket(zmq.ROUTER)
    impostor.curve_server = True
    impostor.curve_secretkey = keyring.keys("stranger").secret
    port = impostor.bind_to_random_port("tcp://127.0.0.1")
    try:
        peer = Peer(f"tcp://127.0.0.1:{port}", keys=keyring.keys("local"))
        opened.append(peer)
        peer.request(f"{PING}:ping", {"echo": 1})
        assert not impostor.poll(QUIET * 1000)
    finally:
        impostor.close(linger=0)
