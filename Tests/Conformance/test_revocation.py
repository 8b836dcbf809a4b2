"""The authorized keys are read again on SIGHUP; who lost a right loses it at once (section 7)."""

from __future__ import annotations

from contextlib import suppress

import pytest
import zmq

from Harness.expect import be_heard, broadcast_reaches, refused
from Harness.waiting import QUIET
from Harness.wire import Peer, Subscriber

USERS = {"guest": "gen poll push live"}


@pytest.fixture
def authorize(stream, keyring):
    """Writes the file anew, `local` first, and has both processes read it; afterwards it is as it was."""
    before = keyring.authorized.read_text()

    def write(*lines: str) -> None:
        keyring.authorize(keyring.line("local", "gen poll push live"), *lines)
        for server in (stream.generator, stream.pusher):
            server.process.reload()
    yield write
    keyring.authorized.write_text(before)
    for server in (stream.generator, stream.pusher):
        server.process.reload()


@pytest.fixture
def guest(join):
    return join("guest")


def is_silent(peer: Peer | Subscriber, seconds: float = QUIET) -> bool:
    return not peer.socket.poll(int(seconds * 1000))


def test_a_revoked_user_is_cut_off(stream, join, listen, authorize, source, guest, component):
    """Everything that is open: calls, a reliable and a live session, a subscription."""
    guest.register(component)
    guest.ready(component)
    live = join("guest")
    live.ready("LIVE")
    writer = join("guest", stream.generator.endpoint)
    writer.add_event("SOME")
    subscriber = listen("guest", "")
    broadcast_reaches(source, "SOME", subscriber)
    guest.receive_events(1)
    live.receive_events(1)
    authorize()
    peers = (guest, live, writer)
    source.add_event("SECRET", "SECRET")
    for peer in peers:
        # There is nobody to send to any more, perhaps.
        peer.socket.setsockopt(zmq.SNDTIMEO, 0)
        rids: list[str] = []
        with suppress(zmq.Again):
            rids.append(peer.request("futoin.ping:1.0:ping", {"echo": 1}))
            rids.append(peer.request("futoin.evt.gen:1.1:addEvent", {"type": "SECRET", "data": 1}))
        peer.groups_within(QUIET)
        # What was under way before may still arrive.
        assert not [message.text for message in peer.received if "SECRET" in message.text or message.body.get("rid") in rids]
    while not is_silent(subscriber):
        assert b"SECRET" not in b"".join(subscriber.next_frames())
    assert int(stream.database.value("SELECT count(*) FROM evt_queue WHERE type = 'SECRET'")) == 1
    # Its consumer is free for who may have it, and a new connection of the revoked key gets nothing.
    assert not join("guest").is_served(QUIET)


def test_a_user_whose_key_comes_back_is_served_again(keyring, join, authorize, guest, component):
    guest.register(component)
    authorize()
    authorize(keyring.line("guest", "gen poll push live"))
    again = join("guest")
    be_heard(again)
    assert again.ready(component) is True


def test_others_notice_nothing_of_a_revocation(authorize, source, peer, component):
    peer.register(component)
    peer.ready(component)
    first = source.add_event("SOME")
    peer.receive_until(first)
    authorize()
    second = source.add_event("SOME")
    events = peer.receive_events(1)
    assert [event["id"] for event in events] == [second]
    assert peer.received[-1].body["p"]["seq"] > 0, "the session began anew"


def test_rights_that_are_narrowed_hold_for_what_is_open(keyring, join, authorize, source, guest, component):
    guest.register(component)
    guest.ready(component)
    authorize(keyring.line("guest", "poll push types=SHOWN"))
    hidden, shown = source.add_event("HIDDEN", "hidden"), source.add_event("SHOWN")
    again = join("guest")
    be_heard(again)
    again.ready(component)
    again.receive_until(shown)
    guest.groups_within(QUIET)
    for peer in (guest, again):
        assert not any(f'"{hidden}"' in message.text and "HIDDEN" in message.text for message in peer.received)


def test_keys_are_rotated_without_a_gap(keyring, join, authorize, guest, component):
    """Two keys are one user: the consumer and its position are the same."""
    guest.register(component)
    authorize(keyring.line("guest", "gen poll push live"), keyring.line("guest", "gen poll push live", key="guest-2"))
    assert guest.ping() == {"echo": 1}
    renewed = join("guest-2")
    be_heard(renewed)
    assert renewed.poll(component) is not None
    authorize(keyring.line("guest", "gen poll push live", key="guest-2"))
    assert renewed.ping() == {"echo": 1}
    guest.request("futoin.ping:1.0:ping", {"echo": 1})
    assert is_silent(guest)


@pytest.mark.parametrize("bad", ["guest", "guest notakey gen", "guest {key} fly", "guest {key} types=lower!", "a:b {key} gen"])
def test_a_bad_line_is_named_and_the_file_refused_as_a_whole(stream, keyring, join, authorize, guest, bad):
    assert guest.ping() == {"echo": 1}
    good = keyring.authorized.read_text()
    line = bad.format(key=keyring.keys("guest").public.decode())
    keyring.authorized.write_text(f"{keyring.line('stranger', 'gen poll push live')}\n{line}\n")
    stream.pusher.process.reload()
    log = stream.pusher.process.log.read_text()
    assert "authorized keys stay as they were" in log and "line 2:" in log
    # The last good one holds: for those it names, and against those it does not.
    assert guest.ping() == {"echo": 1}
    assert not join("stranger").is_served(QUIET)
    keyring.authorized.unlink()
    stream.pusher.process.reload()
    assert guest.ping() == {"echo": 1}
    keyring.authorized.write_text(good)
    stream.pusher.process.reload()


def test_a_right_that_is_added_holds_for_a_new_connection(keyring, join, authorize, component):
    authorize(keyring.line("guest", ""))
    powerless = join("guest")
    be_heard(powerless)
    with refused("Unauthorized"):
        powerless.register(component)
    authorize(keyring.line("guest", "poll"))
    entitled = join("guest")
    be_heard(entitled)
    entitled.register(component)
