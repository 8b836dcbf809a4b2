"""An archiver tells which warehouse its session archives into."""

import uuid

import pytest

from Harness.expect import refused
from Harness.wire import PUSH


# Nothing of the streams of these tests is discarded.
ADMITTED = {"discarded": None}


def archive(peer, component, token, known=None):
    return peer.call(f"{PUSH}:archive", component=component, known=known, token=token)


def token() -> str:
    return str(uuid.uuid4())


def test_a_token_that_was_given_out_is_known_and_another_is_not(peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    first, second = token(), token()
    assert archive(peer, consumer, first) == ADMITTED
    assert archive(peer, consumer, second, known=first) == ADMITTED
    # A warehouse keeps the one of before if the archiver dies in between.
    assert archive(peer, consumer, token(), known=first) == ADMITTED
    with refused("ArchiveUnknown"):
        archive(peer, consumer, token(), known=token())
    # A new one has none.
    assert archive(peer, consumer, token()) == ADMITTED


def test_tokens_are_those_of_a_consumer(peer, rival, consumer, event_type):
    mine = token()
    peer.ready(consumer, [event_type])
    assert archive(peer, consumer, mine) == ADMITTED
    other = f"{consumer}_b"
    rival.register(other)
    rival.ready(other, [event_type])
    with refused("ArchiveUnknown"):
        archive(rival, other, token(), known=mine)


def test_the_newest_are_kept(stream, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    first = token()
    assert archive(peer, consumer, first) == ADMITTED
    stream.database.values(
        f"INSERT INTO evt_queue_archives (ident, token) SELECT 'local:{consumer}', gen_random_uuid() "
        "FROM generate_series(1, 300)")
    last = token()
    assert archive(peer, consumer, last, known=first) == ADMITTED
    kept = stream.database.values(f"SELECT token FROM evt_queue_archives WHERE ident = 'local:{consumer}'")
    assert len(kept) == 256
    assert {first, last} <= set(kept)


def test_only_the_peer_with_the_session_is_heard(peer, rival, consumer, event_type):
    with refused("ConsumerBusy"):
        archive(peer, consumer, token())
    peer.ready(consumer, [event_type])
    with refused("ConsumerBusy"):
        archive(rival, consumer, token())
    peer.stop(consumer)
    with refused("ConsumerBusy"):
        archive(peer, consumer, token())


def test_live_archives_nothing(peer):
    with refused("LiveNotAllowed"):
        archive(peer, "LIVE", token())


TOKEN = "6a1c0e7a-9d0f-4c5b-8a55-0c7c5e3d2b10"


@pytest.mark.parametrize("parameters", [
    {}, {"component": "A"}, {"component": "A", "token": None}, {"component": "A", "token": "x"},
    {"component": "A", "token": TOKEN.upper()}, {"component": "A", "token": 1},
    {"component": "A", "token": TOKEN, "known": "1"}, {"component": "A", "token": TOKEN, "more": 1},
])
def test_malformed(peer, parameters):
    with refused("InvalidRequest"):
        peer.call(f"{PUSH}:archive", **parameters)
