"""Those who come and go: each is a generator that pauses wherever a crowd of its kind should all get so far first."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from Harness.expect import eventually
from Harness.pipeline import tcp_port
from Harness.wire import GEN, PUSH, Caller, CallError, Peer, Subscriber

Guest = Iterator[None]

PLENTY = 1.0
"""Seconds for messages already given to ZeroMQ to leave while their socket closes."""


@dataclass
class Place:
    """What the guests come to, and what they may use there."""

    generator: str
    pusher: str
    live: str
    component: str
    """A registered consumer that no other guest of the crowd has."""
    want: list[str] | None


def _begin(place: Place, component: str, **options) -> tuple[Peer, str]:
    peer = Peer(place.pusher, **options)
    return peer, peer.request(f"{PUSH}:readyToReceive", {"component": component, "want": place.want})


def _started(peer: Peer, rid: str) -> bool:
    """Whether the session has begun. The consumer may be busy: the one before has closed, and that is not known yet."""
    answer = peer.answer(rid)
    assert answer.error in (None, "ConsumerBusy"), f"refused with {answer.error}"
    return answer.error is None


def stops(place: Place) -> Guest:
    """A receiver as it should be."""
    peer, rid = _begin(place, place.component)
    yield
    if _started(peer, rid):
        peer.accept(peer.next_group())
        yield
        peer.stop(place.component)
    peer.close()


def vanishes(place: Place) -> Guest:
    """A receiver that ends without a word after its first group."""
    peer, rid = _begin(place, place.component, delimiter=True)
    yield
    if _started(peer, rid):
        peer.accept(peer.next_group())
        yield
    peer.close(linger=PLENTY)


def never_answers(place: Place) -> Guest:
    """A receiver that takes groups and confirms none."""
    peer, rid = _begin(place, place.component)
    yield
    if _started(peer, rid):
        peer.next_group()
        yield
    peer.close()


def refuses(place: Place) -> Guest:
    """A receiver that cannot process what it gets."""
    peer, rid = _begin(place, place.component)
    yield
    if _started(peer, rid):
        peer.refuse(peer.next_group(), "Broken")
        yield
    peer.close(linger=PLENTY)


def does_not_wait(place: Place) -> Guest:
    """A receiver that is gone before its session begins."""
    peer, _ = _begin(place, place.component)
    yield
    peer.close(linger=PLENTY)


def comes_back(place: Place) -> Guest:
    """A receiver with a name of its own, whose connection breaks once."""
    name = f"guest {random.getrandbits(64)}".encode()
    peer, rid = _begin(place, place.component, routing_id=name)
    yield
    if _started(peer, rid):
        group = peer.next_group()
        peer.close()
        peer = Peer(place.pusher, routing_id=name)
        peer.accept(group)
        yield
        peer.ping()
    peer.close()


def live(place: Place) -> Guest:
    """A live receiver that vanishes."""
    peer, rid = _begin(place, "LIVE")
    yield
    if _started(peer, rid):
        peer.next_group()
        yield
    peer.close()


def live_stops(place: Place) -> Guest:
    """A live receiver that says goodbye."""
    peer, rid = _begin(place, "LIVE")
    yield
    if _started(peer, rid):
        peer.accept(peer.next_group())
        yield
        peer.stop("LIVE")
    peer.close()


def overstays(place: Place) -> Guest:
    """Says nothing until its lease has run out, and vanishes later."""
    peer, rid = _begin(place, place.component)
    yield
    if _started(peer, rid):
        eventually(lambda: not _holds(place), "the lease runs out")
    peer.close()


def _holds(place: Place) -> bool:
    """Whether somebody has a session as the consumer; if not, there is one now, for a moment."""
    rival, rid = _begin(place, place.component)
    try:
        return not _started(rival, rid)
    finally:
        rival.close()


def polls(place: Place) -> Guest:
    """Polls for itself and for others, also for what there is not."""
    peer = Peer(place.pusher)
    yield
    for component, want in ((place.component, place.want), ("LIVE", [random.choice("QRSTUVW") * 16])):
        try:
            peer.poll(component, want=want)
        except CallError as error:
            assert error.name == "InternalError", f"refused with {error}"
        yield
    peer.close()


def polls_unheard(place: Place) -> Guest:
    """Asks and does not wait for the answer, over a REQ socket."""
    caller = Caller(place.pusher)
    caller.socket.send_string(f'{{"f":"{PUSH}:pollEvents","p":{{"component":"LIVE"}},"rid":"C1"}}')
    yield
    caller.socket.close(linger=int(PLENTY * 1000))


def subscribes(place: Place) -> Guest:
    """A plain subscriber of the broadcast, until it has seen something."""
    subscriber = Subscriber(place.live, "CHURN", "OTHER")
    yield
    subscriber.next_event()
    yield
    subscriber.close()


def subscribes_briefly(place: Place) -> Guest:
    """A plain subscriber that is gone before anything comes."""
    subscriber = Subscriber(place.live, "", *(random.choice("QRSTUVW") * length for length in range(1, 9)))
    yield
    subscriber.close()


def _stranger(endpoint: str) -> Guest:
    with socket.create_connection(("127.0.0.1", tcp_port(endpoint))) as stranger:
        if random.random() < 0.5:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        yield


def stranger(place: Place) -> Guest:
    """Speaks no ZeroMQ, or says nothing."""
    return _stranger(random.choice([place.pusher, place.live]))


PUSHER = [
    stops, vanishes, never_answers, refuses, does_not_wait, comes_back, live, live_stops, polls, polls_unheard, subscribes,
    subscribes_briefly, stranger,
]


def adds(place: Place) -> Guest:
    """Records an event."""
    peer = Peer(place.generator)
    rid = peer.request(f"{GEN}:addEvent", {"type": "CHURN", "data": place.component})
    yield
    peer.answer(rid).result()
    peer.close()


def adds_unheard(place: Place) -> Guest:
    """Records an event and does not wait to hear of it."""
    peer = Peer(place.generator)
    peer.request(f"{GEN}:addEvent", {"type": "CHURN", "data": None})
    yield
    peer.close(linger=PLENTY)


def adds_by_req(place: Place) -> Guest:
    """Records an event over a REQ socket."""
    caller = Caller(place.generator)
    yield
    caller.exchange(f'{{"f":"{GEN}:addEvent","p":{{"type":"OTHER","data":{{}}}},"rid":"C1"}}').result()
    caller.close()


def adds_nonsense(place: Place) -> Guest:
    """Sends what cannot be recorded, or not even read."""
    peer = Peer(place.generator)
    rid = peer.request(f"{GEN}:addEvent", {"type": "no type", "data": 1})
    peer.send_frames(b"", b"", b"")
    yield
    assert peer.answer(rid).error == "InvalidRequest"
    peer.close()


def generator_stranger(place: Place) -> Guest:
    """Speaks no ZeroMQ, or says nothing."""
    return _stranger(place.generator)


GENERATOR = [adds, adds_unheard, adds_by_req, adds_nonsense, generator_stranger]


def crowd(guests: list[Guest]) -> None:
    """Lets the guests come together, and each take a step in turn until all have gone."""
    while guests:
        guests = [guest for guest in guests if next(guest, crowd) is not crowd]
