"""Those who come and go: each is a generator that pauses wherever a crowd of its kind should all get so far first."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from Harness.sockets import tcp_port
from Harness.waiting import eventually
from Harness.wire import GEN, PUSH, CallError, Caller, Peer, Subscriber

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


def session(place: Place, component: str | None = None, *, waits: bool = True, answer=None, stops: bool = False,
            linger: float = 0, **options) -> Guest:
    """A receiver that waits for its first group, if at all, answers it, if at all, and stops, or ends without a word."""
    peer, rid = _begin(place, component or place.component, **options)
    yield
    if waits and _started(peer, rid):
        group = peer.next_group()
        if answer is not None:
            answer(peer, group)
        yield
        if stops:
            peer.stop(component or place.component)
    peer.close(linger)


def comes_back(place: Place) -> Guest:
    """A receiver with a name of its own, whose connection breaks once."""
    name = f"guest {random.getrandbits(64)}".encode()
    peer, rid = _begin(place, place.component, routing_id=name)
    yield
    if _started(peer, rid):
        group = peer.next_group()
        peer.close()
        peer = Peer(place.pusher, routing_id=name)
        # Whoever comes before the end of the connection that has its name is not heard.
        eventually(peer.is_served, "the routing id")
        peer.accept(group)
        yield
        peer.ping()
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
    partial(session, answer=Peer.accept, stops=True),
    partial(session, answer=Peer.accept, linger=PLENTY, delimiter=True),
    session,
    partial(session, answer=Peer.refuse, linger=PLENTY),
    partial(session, waits=False, linger=PLENTY),
    partial(session, component="LIVE"),
    partial(session, component="LIVE", answer=Peer.accept, stops=True),
    comes_back, polls, polls_unheard, subscribes, subscribes_briefly, stranger,
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
