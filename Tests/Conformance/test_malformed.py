"""Requests that cannot be served: not JSON, not an object, wrong envelope, too large (section 2)."""

import json

import pytest

from Harness.wire import PING

LIMIT = 65536

NOT_AN_OBJECT = [
    b"CBOR", b"CBOR\xa1\x61f\x01", b"MPCK", b"MPCK\x81\xa1f\x01",
    b"[]", b'["f"]', b'"text"', b"1", b"-0.5", b"null", b"true", b"false",
    b" ", b"\n", b"{", b"}", b"[", b'"', b"{}{}", b"{'f':1}", b"{f:1}",
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":1}}x',
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":1},}',
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":NaN}}',
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":01}}',
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":+1}}',
    b'{"f":"futoin.ping:1.0:ping" "p":{"echo":1}}',
    b'{"f":"futoin.ping:1.0:ping","p":{"echo":1}/* why */}',
    b'{"f":"futoin.ping:1.0:p\ning","p":{"echo":1}}',
    b'{"f":"futoin.ping:1.0:\\x70ing","p":{"echo":1}}',
    b"\xff\xfe", b'{"f":"\xff"}', b'{"f":"\xc0\xaf"}', b"\x00", b'{"f":"futoin.ping:1.0:ping\x00"}',
]


@pytest.mark.parametrize("payload", NOT_AN_OBJECT, ids=repr)
def test_what_is_not_a_json_object_is_answered_in_json(endpoint, connect, payload):
    peer = connect(endpoint)
    peer.send(payload)
    answer = peer.next_answer()
    assert set(answer.body) == {"e", "edesc"}
    assert answer.error == "InvalidRequest"
    assert peer.ping() == {"echo": 1}


@pytest.mark.parametrize("request_", [
    {},
    {"p": {"echo": 1}},
    {"f": None, "p": {"echo": 1}},
    {"f": 1, "p": {"echo": 1}},
    {"f": ["futoin.ping:1.0:ping"], "p": {"echo": 1}},
    {"f": {}, "p": {"echo": 1}},
    {"f": f"{PING}:ping"},
    {"f": f"{PING}:ping", "p": None},
    {"f": f"{PING}:ping", "p": []},
    {"f": f"{PING}:ping", "p": "echo"},
    {"f": f"{PING}:ping", "p": 1},
], ids=json.dumps)
def test_a_wrong_envelope_is_an_invalid_request(endpoint, connect, request_):
    peer = connect(endpoint)
    peer.send(json.dumps({**request_, "rid": "C1"}))
    assert peer.answer("C1").error == "InvalidRequest"


@pytest.mark.parametrize("rid", [1, ["C1"], {}, True], ids=json.dumps)
def test_a_rid_that_is_not_a_string_is_an_invalid_request(endpoint, connect, rid):
    peer = connect(endpoint)
    peer.send(json.dumps({"f": f"{PING}:ping", "p": {"echo": 1}, "rid": rid}))
    assert peer.next_answer().error == "InvalidRequest"


@pytest.mark.parametrize("function", [
    "", ":", "::", ":::", "ping", "futoin.ping", "futoin.ping:1.0", "futoin.ping:ping", "futoin.ping:1:ping",
    "futoin.ping:1.0:ping:", "futoin.ping::ping", "futoin.ping:x.y:ping", "futoin.ping:-1.0:ping", ":1.0:ping",
    "futoin.ping:1.0.0:ping", " futoin.ping:1.0:ping", "futoin.ping:1.0:", "futoin.ping:+1.0:ping",
    "futoin.ping:1.99999999999999999999:ping", "futoin.ping:99999999999999999999.0:ping",
])
def test_a_function_name_that_cannot_be_read_is_refused(endpoint, connect, function):
    # Which name the error has depends on how far one can read it.
    peer = connect(endpoint)
    assert peer.answer(peer.request(function, {"echo": 1})).error in {
        "InvalidRequest", "UnknownInterface", "NotSupportedVersion", "NotImplemented"}


def padded_ping(size: int) -> str:
    """A legal request of exactly that many bytes."""
    text = f'{{"f":"{PING}:ping","p":{{"echo":1}},"rid":"C1"}}'
    return text[:-1] + " " * (size - len(text)) + "}"


@pytest.mark.parametrize("delimiter", [False, True], ids=["bare", "with delimiter"])
def test_a_request_as_large_as_allowed_is_served(endpoint, connect, delimiter):
    peer = connect(endpoint, delimiter=delimiter)
    peer.send(padded_ping(LIMIT))
    assert peer.answer("C1").result() == {"echo": 1}


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT, 1_000_000])
@pytest.mark.parametrize("delimiter", [False, True], ids=["bare", "with delimiter"])
def test_a_request_over_the_limit_is_an_invalid_request(endpoint, connect, size, delimiter):
    peer = connect(endpoint, delimiter=delimiter)
    peer.send(padded_ping(size))
    answer = peer.next_answer()
    assert answer.error == "InvalidRequest"
    assert answer.body.get("rid") in {None, "C1"}
    assert answer.delimited == delimiter
    assert peer.ping() == {"echo": 1}


def test_a_req_socket_goes_on_after_a_request_over_the_limit(endpoint, connect_req):
    caller = connect_req(endpoint)
    assert caller.exchange(padded_ping(LIMIT + 1)).error == "InvalidRequest"
    assert caller.exchange(padded_ping(100)).result() == {"echo": 1}
