"""Attacks by messages to the two ROUTER sockets, from connections that are in order."""

from __future__ import annotations

import json
import time

import zmq

from attacker import BYTES_PER_SECOND, HOSTILE, Attacker, Pace

PING, GEN, POLL, PUSH = "futoin.ping:1.0", "futoin.evt.gen:1.1", "futoin.evt.poll:1.1", "futoin.evt.push:1.1"
OTHERS = ["RELIABLE", "FILTERED", "ARCHIVER"]
"""Consumers that others are served as, over connections that nobody takes from them."""
ROUTERS = ["generator", "pusher"]


def call(function: str, rid: str, **parameters) -> bytes:
    return json.dumps({"f": function, "p": parameters, "rid": rid}).encode()


def flood(attacker: Attacker, servers: list[str], make, *, per_second: float = 50_000, sockets: int = 4,
          limit: int = 1000, reads: bool = True) -> None:
    """Sends what `make(server, number)` gives, frames or None, over some connections to each server."""
    peers = [(server, attacker.socket(zmq.DEALER, server, receive_limit=limit)) for server in servers for _ in range(sockets)]
    pace = Pace(per_second)
    number = 0
    while not attacker.is_over:
        sent = 0
        for server, socket in peers:
            for _ in range(20):
                number += 1
                frames = make(server, number)
                if not attacker.send(socket, *frames):
                    break
                sent += 1
            if reads:
                attacker.hear(socket)
        if sent:
            pace.take(sent)
        else:
            time.sleep(0.002)


def own_calls(server: str) -> list[bytes]:
    """Valid calls that concern nobody else."""
    if server == "generator":
        return [call(f"{GEN}:addEvent", "C1", type=HOSTILE, data={"k": "m", "n": 12345678901234567890, "text": "\u00e4\n\\"}),
                call(f"{PING}:ping", "C2", echo=1)]
    return [call(f"{POLL}:pollEvents", "C1", component="LIVE", last_id="1", want=[HOSTILE]),
            call(f"{PUSH}:pollEvents", "C2", component=HOSTILE, last_id=None, want=None),
            call(f"{PUSH}:registerConsumer", "C3", component=HOSTILE),
            call(f"{PUSH}:readyToReceive", "C4", component=HOSTILE, want=[HOSTILE, "OTHER_"], precise=True),
            call(f"{PUSH}:stopReceiving", "C5", component=HOSTILE), call(f"{PING}:ping", "C6", echo=1),
            call(f"{PUSH}:lag", "C7", component=HOSTILE)]


def mutated(attacker: Attacker) -> None:
    """Valid calls with bits flipped, cut short, put together wrongly, repeated."""
    draw = attacker.draw

    def make(server: str, number: int) -> list[bytes]:
        calls = own_calls(server)
        damaged = bytearray(draw.choice(calls))
        match draw.randrange(5):
            case 0:
                for _ in range(draw.randrange(1, 4)):
                    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            case 1:
                del damaged[draw.randrange(1, len(damaged)):]
            case 2:
                other = draw.choice(calls)
                damaged = damaged[:draw.randrange(len(damaged))] + other[draw.randrange(len(other)):]
            case 3:
                at, length = draw.randrange(len(damaged)), draw.randrange(1, 40)
                damaged[at:at] = damaged[at:at + length] * draw.choice([1, 2, 500])
            case 4:
                at = draw.randrange(len(damaged))
                damaged[at:at + draw.randrange(4)] = draw.choice(
                    [b"[" * 20000, b"\xff", b"\x00", b'"', b"{", b"1e999", b"\\ud800"])
        return [bytes(damaged)]

    flood(attacker, ROUTERS, make, per_second=20_000)


def noise(attacker: Attacker) -> None:
    """Random frames, many of them, empty ones, and messages of thousands of frames."""
    draw = attacker.draw

    def make(server: str, number: int) -> list[bytes]:
        if number % 500 == 0:
            return [b"x"] * draw.choice([100, 5000])
        return [draw.randbytes(draw.choice([0, 0, 1, 10, 100, 1000])) for _ in range(draw.choice([1, 1, 2, 3, 5, 20]))]

    flood(attacker, ROUTERS, make, per_second=20_000)


def big(attacker: Attacker) -> None:
    """Messages of 8 and of 64 MiB, also as events."""
    pace = Pace(BYTES_PER_SECOND)
    texts = {size: call(f"{GEN}:addEvent", "C1", type=HOSTILE, data="x" * size) for size in (8 << 20, 64 << 20)}
    while not attacker.is_over:
        for server in ("generator", "pusher", "live"):
            for size in (8 << 20, 8 << 20, 64 << 20):
                socket = attacker.socket(zmq.XSUB if server == "live" else zmq.DEALER, server)
                if socket.poll(500, zmq.POLLOUT):
                    attacker.send(socket, texts[size])
                    pace.take(size)
                socket.poll(300)
                attacker.hear(socket)
                socket.close(0)
                if attacker.is_over:
                    return


def answers(attacker: Attacker) -> None:
    """Answers to calls that were never made, or to others."""
    draw = attacker.draw

    def make(server: str, number: int) -> list[bytes]:
        rid = draw.choice([f"S{number}", f"S{draw.randrange(1 << 64)}", f"C{number}", "S", "", "S-1", f"S{1 << 70}"])
        outcome = draw.choice(
            [{"r": True}, {"r": False}, {"e": "InternalError"}, {"r": True, "e": "Both"}, {"r": {"a": [1] * 9}}])
        return [json.dumps({**outcome, "rid": rid}).encode()]

    flood(attacker, ROUTERS, make)


def stuck(attacker: Attacker) -> None:
    """Asks for what others receive, and for what it may have; never answers any group."""
    number = 0
    sockets: list[zmq.Socket] = []
    pace = Pace(2000)
    while not attacker.is_over:
        if len(sockets) < 100:
            socket = attacker.socket(zmq.DEALER, "pusher", receive_limit=attacker.draw.choice([1, 1000]))
            sockets.append(socket)
            attacker.send(socket, call(f"{PUSH}:registerConsumer", "Cr", component=HOSTILE))
            attacker.send(socket, call(f"{PUSH}:readyToReceive", "Clive", component="LIVE", want=None))
        for socket in sockets:
            number += 1
            theirs = attacker.draw.choice(OTHERS)
            attacker.send(socket, call(f"{PUSH}:readyToReceive", f"Ctheirs{number}", component=theirs, want=None))
            attacker.send(socket, call(f"{PUSH}:readyToReceive", f"C{number}", component=HOSTILE,
                                       want=attacker.draw.choice([None, [HOSTILE], ["ALPHA"]])))
            pace.take(2)
        for socket in sockets[::2]:
            attacker.hear(socket)


def polls(attacker: Attacker) -> None:
    """Polls again and again: all there is, live, from the beginning; of the connections only some take the answers."""
    def make(server: str, number: int) -> list[bytes]:
        if number == 1 or number % 10_000 == 0:
            return [call(f"{PUSH}:registerConsumer", "Cr", component=HOSTILE)]
        component = HOSTILE if number % 3 == 0 else "LIVE"
        want = [None, [HOSTILE], ["NOBODY"], ["ALPHA", "BETA"]][number % 4]
        return [call(f"{POLL}:pollEvents", f"C{number}", component=component, last_id=None, want=want)]

    flood(attacker, ["pusher"], make, sockets=20)


def registrations(attacker: Attacker) -> None:
    """Registers consumers that nobody has heard of."""
    def make(server: str, number: int) -> list[bytes]:
        return [call(f"{PUSH}:registerConsumer", f"C{number}", component=f"X{attacker.draw.randrange(1 << 48)}")]

    flood(attacker, ["pusher"], make)


def pings(attacker: Attacker) -> None:
    """Pings, as fast as they go."""
    flood(attacker, ROUTERS, lambda server, number: [call(f"{PING}:ping", f"C{number}", echo=number)])


def unread(attacker: Attacker) -> None:
    """Calls with long answers, which are never read."""
    rid = "C" + "x" * 20_000
    flood(attacker, ROUTERS, lambda server, number: [call(f"{PING}:ping", rid, echo=1)],
          per_second=BYTES_PER_SECOND / 20_000, sockets=20, limit=1, reads=False)


def adds(attacker: Attacker) -> None:
    """Records events as fast as it can."""
    def make(server: str, number: int) -> list[bytes]:
        return [call(f"{GEN}:addEvent", f"C{number}", type=HOSTILE, data={"k": f"m{number}"})]

    flood(attacker, ["generator"], make)
