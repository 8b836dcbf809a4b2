"""What each right is good for, and that lacking it is answered with Unauthorized (section 7)."""

from __future__ import annotations

import pytest

from Harness.expect import broadcast_reaches, refused
from Harness.waiting import QUIET, eventually, throughout
from Harness.wire import GEN, Peer, Subscriber

USERS = {
    "generator": "gen", "poller": "poll", "pushed": "push", "alive": "live", "powerless": "",
    "narrow": "poll push components=MINE,ALSO_MINE",
    "order": "gen poll push live types=ORDER,REFUND,PLAIN",
}

CALLS = {
    "addEvent": (lambda peer, component: peer.add_event("SOME"), {"generator"}),
    "registerConsumer": (lambda peer, component: peer.register(component), {"poller", "pushed"}),
    "pollEvents": (lambda peer, component: peer.poll(component), {"poller"}),
    "pollEvents LIVE": (lambda peer, component: peer.poll("LIVE"), {"poller"}),
    "readyToReceive": (lambda peer, component: peer.ready(component), {"pushed"}),
    "readyToReceive LIVE": (lambda peer, component: peer.ready("LIVE"), {"alive"}),
    "stopReceiving": (lambda peer, component: peer.stop(component), {"pushed"}),
    "lag": (lambda peer, component: peer.lag(component), {"poller", "pushed"}),
    "stopReceiving LIVE": (lambda peer, component: peer.stop("LIVE"), {"alive"}),
}


@pytest.mark.parametrize("user", ["local", "generator", "poller", "pushed", "alive", "powerless"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_needs_its_right(stream, join, call, user, component):
    make, entitled = CALLS[call]
    peer = join(user, stream.generator.endpoint if call == "addEvent" else None)
    if call in ("pollEvents", "readyToReceive", "lag") and user in (*entitled, "local"):
        peer.register(component)
    if user in (*entitled, "local"):
        make(peer, component)
    else:
        with refused("Unauthorized"):
            make(peer, component)
        # A refusal is no more than that.
        assert peer.ping() == {"echo": 1}


@pytest.mark.parametrize("user", ["local", "powerless"])
def test_everybody_may_ping(stream, join, user):
    for endpoint in (stream.generator.endpoint, stream.pusher.endpoint):
        assert join(user, endpoint).ping() == {"echo": 1}


def test_consumers_belong_to_their_user(stream, join, component):
    join("poller").register(component)
    idents = stream.database.value(f"SELECT string_agg(ident, ' ') FROM evt_consumers WHERE ident LIKE '%:{component}'")
    assert idents == f"poller:{component}"
    # Another user's component of this name is another consumer.
    with refused("NotRegistered"):
        join("local").ready(component)


def test_a_user_may_be_only_its_components(join):
    peer = join("narrow")
    for component in ("MINE", "ALSO_MINE"):
        peer.register(component)
        peer.ready(component)
        peer.stop(component)
        peer.poll(component)
    for call in (peer.register, peer.poll, peer.ready, peer.lag, peer.stop):
        with refused("Unauthorized"):
            call("OTHERS")
    # LIVE is no component: polling it is the right poll, and a session the right live.
    peer.poll("LIVE")
    with refused("Unauthorized"):
        peer.ready("LIVE")


# Event types

SHOWN, HIDDEN = ["ORDER", "REFUND", "PLAIN"], ["ORDER_PAID", "ORDER_", "SALARY", "REFUND_X", "O"]


@pytest.fixture
def record(source):
    """Records one event of each type, shown and hidden ones mixed; returns the ids of the shown ones."""

    def record_all() -> list[str]:
        ids = {name: source.add_event(name, {"secret of": name}) for name in (*HIDDEN[:3], *SHOWN, *HIDDEN[3:])}
        return [ids[name] for name in SHOWN]
    return record_all


def no_hidden_bytes(*sockets: Peer) -> None:
    """Looks at every byte that came."""
    for peer in sockets:
        for message in peer.received:
            for name in HIDDEN:
                assert f'"{name}"' not in message.text


def test_lag_counts_only_types_the_user_may_see(join, record, component):
    peer = join("order")
    peer.register(component)
    ids = record()
    lag, last, seen = peer.lag(component)["events"], None, 0
    while last != ids[-1]:
        events = peer.poll(component, last_id=last)
        seen, last = seen + len(events), events[-1]["id"]
    assert lag == seen


WANTS = [None, SHOWN, [*SHOWN, *HIDDEN]]


@pytest.mark.parametrize("want", WANTS)
def test_polls_show_only_types_the_user_may_see(join, record, component, want):
    peer = join("order")
    peer.register(component)
    before = peer.poll("LIVE", want=want)
    ids = record()
    last = before[-1]["id"] if before else None
    for name in (component, "LIVE"):
        seen: list[str] = []
        while ids[-1] not in seen:
            events = peer.poll(name, last_id=seen[-1] if seen else last, want=want)
            seen += [event["id"] for event in events]
        assert [i for i in seen if i in ids] == ids
    no_hidden_bytes(peer)


@pytest.mark.parametrize("want", WANTS)
@pytest.mark.parametrize("kind", ["reliable", "LIVE"])
def test_sessions_show_only_types_the_user_may_see(join, record, component, kind, want):
    peer = join("order")
    if kind == "reliable":
        peer.register(component)
    peer.ready(component if kind == "reliable" else "LIVE", want)
    ids = record()
    seen = peer.receive_until(ids[-1])
    assert [i for i in seen if i in ids] == ids
    record()
    peer.groups_within(QUIET)
    no_hidden_bytes(peer)


def test_wanting_only_what_may_not_be_seen_is_unauthorized(join, component):
    peer = join("order")
    peer.register(component)
    for call in (lambda: peer.poll(component, want=HIDDEN), lambda: peer.poll("LIVE", want=HIDDEN),
                 lambda: peer.ready(component, HIDDEN), lambda: peer.ready("LIVE", HIDDEN)):
        with refused("Unauthorized"):
            call()


def test_a_source_may_record_only_its_types(stream, join):
    peer = join("order", stream.generator.endpoint)
    for name in SHOWN:
        peer.add_event(name)
    for name in HIDDEN:
        with refused("Unauthorized"):
            peer.add_event(name)
    count = stream.database.value("SELECT count(*) FROM evt_queue WHERE data::text = 'null' AND type = 'SALARY'")
    assert int(count) == 0


# The live broadcast

def frames_until(subscriber: Subscriber, wanted, what: str) -> list[list[bytes]]:
    """Takes in messages until one is wanted."""
    frames: list[list[bytes]] = []

    def came() -> bool:
        while subscriber.socket.poll(50):
            frames.append(subscriber.next_frames())
        return any(wanted(frame) for frame in frames)

    eventually(came, what)
    return frames


@pytest.mark.parametrize("prefixes", [("",), ("PLAIN",), ("P", "SALARY"), ("ORDER_PAID", "PLA", "")])
def test_subscribers_get_only_types_their_user_may_see(source, listen, record, prefixes):
    # The other way round: somebody who may see all, so that it is known when everything has been broadcast.
    everything = listen("local", "")
    subscriber = listen("order", *prefixes)
    broadcast_reaches(source, "PLAIN", subscriber, everything)
    for _ in range(5):
        record()
    # The first hidden event that begins like a shown one costs a connection: there may be a moment without events.
    frames: list[list[bytes]] = []
    all_frames: list[list[bytes]] = []

    def have_last() -> bool:
        source.add_event("PLAIN", "last")
        for where, what in ((subscriber, frames), (everything, all_frames)):
            while where.socket.poll(50):
                what.append(where.next_frames())
        return all(any(b'"last"' in frame[1] for frame in what) for what in (frames, all_frames))
    eventually(have_last, "the last event")
    assert {frame[0] for frame in all_frames} >= {name.encode() for name in HIDDEN}
    for topic, payload in frames:
        assert topic.decode() in SHOWN
        for name in HIDDEN:
            assert f'"{name}"'.encode() not in payload


def test_without_the_right_live_there_is_no_broadcast(source, listen):
    entitled = listen("alive", "")
    others = [listen(user, "") for user in ("pushed", "powerless", "generator")]
    for _ in range(3):
        broadcast_reaches(source, "SOME", entitled)
        entitled.next_event()
    throughout(lambda: not any(subscriber.socket.poll(0) for subscriber in others), "no broadcast for the others")


def test_a_hidden_type_that_begins_like_a_shown_one_is_not_sent_the_first_time_either(stream, source, listen):
    """A subscription to REFUND would match REFUNDED, too: the first such event must not slip through."""
    # Earlier tests have shown this pusher hidden types that begin with both shown ones; a new one knows none.
    fresh = stream.start_pusher()
    newcomer = listen("order", "REFUND", to=fresh.live)
    broadcast_reaches(source, "REFUND", newcomer)
    everything = listen("local", "", to=fresh.live)
    broadcast_reaches(source, "REFUND", everything)
    last = source.add_event("REFUNDED", "hidden")
    frames_until(everything, lambda frame: f'"id":"{last}"'.encode() in frame[1], "the hidden event, for those who may see it")
    while newcomer.socket.poll(int(QUIET * 1000)):
        topic, payload = newcomer.next_frames()
        assert topic == b"REFUND" and b"REFUNDED" not in payload
    fresh.process.stop()


def test_what_is_refused_is_not_recorded_under_another_interface(stream, join):
    """Names the right, so that a person knows what to ask for."""
    peer = join("poller", stream.generator.endpoint)
    answer = peer.answer(peer.request(f"{GEN}:addEvent", {"type": "X", "data": 1}))
    assert answer.body["e"] == "Unauthorized" and "gen" in answer.body["edesc"]
