"""Nothing a peer sends may stop, stall or crash a process, or disturb another peer (section 2).

That the processes are still alive in the end, and stop cleanly, is seen when the module's stream is closed.
"""

import json
import socket

import pytest
import zmq

from Harness.sockets import new_socket, tcp_port
from Harness.wire import GEN, PING, Peer

ERRORS = {"UnknownInterface", "NotSupportedVersion", "NotImplemented", "InvalidRequest", "InternalError"}


@pytest.fixture
def bystander(endpoint, connect) -> Peer:
    """A well-behaved peer, connected before the trouble starts."""
    peer = connect(endpoint)
    assert peer.ping() == {"echo": 1}
    return peer


@pytest.mark.parametrize("frames", [
    [b""],
    [b"a", b"b"],
    [b"a", b"b", b"c"],
    [b"", b"", b"x"],
    [b"", b'{"f":"futoin.ping:1.0:ping","p":{"echo":1}}', b""],
    [b'{"f":"futoin.ping:1.0:ping","p":{"echo":1}}', b'{"f":"futoin.ping:1.0:ping","p":{"echo":1}}'],
    [b"x"] * 500,
], ids=lambda frames: repr(frames)[:40])
def test_multipart_noise_and_empty_messages_are_dropped(endpoint, connect, bystander, frames):
    noisy = connect(endpoint)
    noisy.send_frames(*frames)
    assert noisy.ping() == {"echo": 1}
    assert len(noisy.received) == 1, "only the ping is answered"
    assert bystander.ping() == {"echo": 1}


def test_a_delimiter_with_an_empty_payload_does_no_harm(endpoint, connect, bystander):
    noisy = connect(endpoint)
    noisy.send_frames(b"", b"")
    assert noisy.ping() == {"echo": 1}
    assert bystander.ping() == {"echo": 1}


@pytest.mark.parametrize("answer", [
    {"r": True, "rid": "S0"}, {"r": True, "rid": "S1"}, {"r": True, "rid": "S18446744073709551616"},
    {"r": True, "rid": "C1"}, {"r": True}, {"r": {"deep": [1, 2]}, "rid": ""},
    {"e": "InternalError", "rid": "S1"}, {"e": "Made.Up", "edesc": "x", "rid": "S2"},
], ids=json.dumps)
def test_answers_to_calls_never_made_are_dropped(endpoint, connect, bystander, answer):
    noisy = connect(endpoint)
    noisy.send(json.dumps(answer))
    assert noisy.answer(noisy.request(f"{PING}:ping", {"echo": 2})).result() == {"echo": 2}
    assert len(noisy.received) == 1, "only the ping is answered"
    assert bystander.ping() == {"echo": 1}


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "cut short"])
def test_very_deep_nesting_is_answered_one_way_or_the_other(endpoint, connect, bystander, opening, closing, complete):
    noisy = connect(endpoint)
    depth = 60000 // (len(opening) + len(closing))
    nested = opening * depth + "1" + (closing * depth if complete else "")
    noisy.send(f'{{"f":"{GEN}:addEvent","p":{{"type":"DEEP","data":{nested}}},"rid":"C1"}}')
    answer = noisy.next_answer()
    assert answer.error in ERRORS | {None}
    assert bystander.ping() == {"echo": 1}


@pytest.mark.parametrize("garbage", [
    b"", b"\x00", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f",
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + b"\x00" * 16 + b"\x00" * 32 + b"\xff" * 64,
    b"\xff" * 4096,
], ids=lambda garbage: repr(garbage)[:30])
def test_a_connection_that_does_not_speak_zeromq_disturbs_nobody(endpoint, bystander, garbage):
    with socket.create_connection(("127.0.0.1", tcp_port(endpoint))) as raw:
        raw.sendall(garbage)
        assert bystander.ping() == {"echo": 1}
    assert bystander.ping() == {"echo": 1}


def test_a_peer_that_is_gone_before_its_answer_disturbs_nobody(endpoint, bystander):
    for _ in range(20):
        gone = Peer(endpoint)
        for number in range(20):
            gone.request(f"{PING}:ping", {"echo": number})
        gone.close(linger=5)
    assert bystander.ping() == {"echo": 1}


def test_an_odd_identity_is_as_good_as_any(endpoint, connect):
    for identity in (b"\x01", b"\xff" * 255, b"S1", b"\xc3\x28 not utf-8"):
        assert connect(endpoint, routing_id=identity).ping() == {"echo": 1}


def test_noise_on_the_broadcast_socket_disturbs_nobody(stream, source, subscribe, event_type):
    noisy = new_socket(zmq.XSUB)
    try:
        noisy.connect(stream.pusher.live)
        for payload in (b"", b"\x00", b"\x01", b"\x02x", b"\x01" + b"y" * 5000, b"\x00never subscribed", b"\x07" * 99):
            noisy.send(payload)
            noisy.send_multipart([payload, b"more", payload])
        subscriber = subscribe(stream, source, event_type)
        event_id = source.add_event(event_type, 1)
        assert subscriber.next_event()["id"] == event_id
    finally:
        noisy.close(linger=0)
