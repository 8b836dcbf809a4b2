"""Attacks by connections: without ZeroMQ, with half of it, with names that change or are others', as subscribers."""

from __future__ import annotations

import select
import socket as tcp
import time

import zmq

from Harness import zmtp
from attacker import HOSTILE, Attacker, Pace
from calls import PING, PUSH, call

SERVERS = ["generator", "pusher", "live"]
CONNECTIONS_PER_SECOND = 1000

_NULL, _CURVE = zmtp.greeting(b"NULL"), zmtp.greeting(b"CURVE", 1)


def _ready(kind: bytes) -> bytes:
    return zmtp.ready(kind, b"")


def _connect(attacker: Attacker, server: str) -> tcp.socket | None:
    try:
        connection = tcp.create_connection(("127.0.0.1", attacker.ports[server]), timeout=2)
    except OSError:
        attacker.counts["refused"] += 1
        return None
    attacker.counts["connections"] += 1
    connection.setblocking(False)
    return connection


def _join(attacker: Attacker, server: str, kind: bytes) -> tcp.socket | None:
    """A connection whose handshake is done, as far as the server agrees; it never answers a heartbeat."""
    if (connection := _connect(attacker, server)) is None:
        return None
    _write(attacker, connection, _NULL + _ready(kind))
    # What comes with the greeting in one piece libzmq refuses.
    while _is_readable(connection, 500):
        try:
            data = connection.recv(1000)
        except OSError:
            break
        if b"READY" in data:
            return connection
        if not data:
            break
    attacker.counts["not let in"] += 1
    return connection


def _is_readable(connection: tcp.socket, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _write(attacker: Attacker, connection: tcp.socket, data: bytes) -> bool:
    try:
        connection.send(data)
        attacker.counts["sent"] += 1
        return True
    except OSError:
        return False


def _read(attacker: Attacker, connection: tcp.socket) -> bool:
    """Whether the connection is still there; no stranger may read an event or an answer."""
    try:
        data = connection.recv(1 << 16)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if attacker.who and any(mark in data for mark in (b'"k"', b'"id"', b'"rid"', b'"e"')):
        attacker.found.append(f"read from a bare connection: {data[:200]!r}")
    return bool(data)


def garbage(attacker: Attacker) -> None:
    """What is not ZeroMQ, and what begins like it."""
    draw = attacker.draw
    pace = Pace(CONNECTIONS_PER_SECOND / 2)
    lingering: list[tcp.socket] = []
    openings = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xa5" * 505,
        b"\0" * 4096, b"\xff" * 4096, zmtp.SIGNATURE[:5], zmtp.SIGNATURE, _NULL[:40], b"",
        _NULL + b"\x04\xff" + b"\xff" * 255, _NULL + b"\x06" + b"\x7f" + b"\xff" * 7, _CURVE,
        _CURVE + b"\x04\xc8\x05HELLO\x01\x00" + b"\0" * 72 + b"\x11" * 122, _CURVE + _ready(b"DEALER"),
    ]
    # After a handshake well done: lengths that cannot be, orders nobody knows, pings that last for ever or are cut short.
    tails = [
        b"\x02" + b"\xff" * 8, b"\x02\x00\x00\x00\x7f\xff\xff\xff\xff", b"\x04\x05\x04PIN", b"\x04\x05\x04PING",
        b"\x04\x07\x04PING\xff\xff", b"\x04\x0a\x09SUBSCRIBE", b"\x04\x00", b"\xf8\x01x", b"\x01\x00" * 2000,
        b"\x00\x00" * 2000]
    while not attacker.is_over:
        pace.take()
        if draw.random() < 0.5:
            connection = _join(attacker, draw.choice(SERVERS), draw.choice([b"DEALER", b"SUB", b"NONSENSE"]))
            opening = draw.choice(tails)
        else:
            connection = _connect(attacker, draw.choice(SERVERS))
            opening = draw.choice([*openings, draw.randbytes(draw.randrange(1, 300))])
        if connection is None:
            continue
        _write(attacker, connection, opening)
        lingering.append(connection)
        if len(lingering) > 100:
            oldest = lingering.pop(0)
            _read(attacker, oldest)
            oldest.close()


def resets(attacker: Attacker) -> None:
    """More messages than are taken at once, heartbeats between them, or half a message, and the connection is reset."""
    pace = Pace(100)
    own = call(f"{PING}:ping", "C1", echo=1).ljust(64)
    bursts = [(b"\x00\x01x" * 400 + zmtp.PING) * 20, (b"\x00\x40" + own + zmtp.PING) * 5000,
              b"\x02" + (8 << 20).to_bytes(8, "big") + b"x" * 70_000]
    subscriptions = b"".join(b"\x00\x04\x01T%02d" % number for number in range(100)) * 3 + zmtp.PING
    while not attacker.is_over:
        pace.take()
        server = attacker.draw.choice(SERVERS)
        if (connection := _join(attacker, server, b"SUB" if server == "live" else b"DEALER")) is None:
            continue
        _write(attacker, connection, attacker.draw.choice([subscriptions, bursts[0]] if server == "live" else bursts))
        connection.setsockopt(tcp.SOL_SOCKET, tcp.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()


def slowloris(attacker: Attacker) -> None:
    """Hundreds of connections whose greetings never end."""
    greeting = _CURVE if attacker.who else _NULL
    pace = Pace(CONNECTIONS_PER_SECOND)
    connections: list[list] = [[server, None, 0] for server in SERVERS for _ in range(200)]
    while not attacker.is_over:
        for entry in connections:
            if entry[1] is None:
                pace.take()
                entry[1], entry[2] = _connect(attacker, entry[0]), 0
            elif not (_read(attacker, entry[1]) and _write(attacker, entry[1], greeting[entry[2]:entry[2] + 1])):
                attacker.counts["turned away"] += 1
                entry[1].close()
                entry[1] = None
            else:
                entry[2] = min(entry[2] + 1, len(greeting) - 2)
        time.sleep(0.5)


def identities(attacker: Attacker) -> None:
    """A connection, a name, a message; and the next one."""
    draw = attacker.draw
    pace = Pace(CONNECTIONS_PER_SECOND)
    open_ones: list[zmq.Socket] = []
    while not attacker.is_over:
        pace.take()
        server = draw.choice(["generator", "pusher"])
        name = draw.choice([b"name %d" % draw.randrange(500), draw.randbytes(draw.randrange(1, 255)).lstrip(b"\0") or b"n"])
        socket = attacker.socket(zmq.DEALER, server, routing_id=name)
        attacker.send(socket, call(f"{PING}:ping", "C1", echo=1) if server == "generator" or draw.random() < 0.5
                      else call(f"{PUSH}:readyToReceive", "C1", component="LIVE", want=[HOSTILE]))
        open_ones.append(socket)
        if len(open_ones) > 300:
            oldest = open_ones.pop(0)
            attacker.hear(oldest)
            oldest.close(0)


def namesakes(attacker: Attacker) -> None:
    """Connections with one name: the earlier goes on sending when the later has taken its place, and closes."""
    pace = Pace(50)
    open_ones: list[zmq.Socket] = []
    while not attacker.is_over:
        pace.take()
        socket = attacker.socket(zmq.DEALER, attacker.draw.choice(["generator", "pusher"]), routing_id=b"namesake")
        open_ones.append(socket)
        for each in open_ones:
            attacker.send(each, call(f"{PING}:ping", "C1", echo=1))
            attacker.hear(each)
        if len(open_ones) > 20:
            open_ones.pop(0).close(0)


def hijack(attacker: Attacker) -> None:
    """Takes the name of a good receiver, again and again, and reads what comes."""
    pace = Pace(50)
    while not attacker.is_over:
        pace.take()
        socket = attacker.socket(zmq.DEALER, "pusher", routing_id=b"stable receiver")
        attacker.send(socket, call(f"{PING}:ping", "C1", echo=1))
        socket.poll(200)
        time.sleep(attacker.draw.choice([0, 0.3]))
        attacker.counts["heard"] += attacker.hear(socket)
        socket.close(0)


def subscriptions(attacker: Attacker) -> None:
    """Thousands of subscriptions, unsubscriptions never made, other messages to the broadcast."""
    draw = attacker.draw
    pace = Pace(50_000)
    sockets = [attacker.socket(zmq.XSUB, "live") for _ in range(10)]
    while not attacker.is_over:
        sent = 0
        for socket in sockets:
            for _ in range(50):
                topic = draw.choice([b"", b"ALPHA", b"%d" % draw.randrange(1 << 40), draw.randbytes(draw.randrange(1, 900))])
                match draw.randrange(8):
                    case 0:
                        frames = [b"\x00" + topic]
                    case 1:
                        frames = [draw.randbytes(draw.randrange(1000))]
                    case 2:
                        frames = [b"\x01" + topic, b"more", b""]
                    case 3:
                        frames = [b"\x01" + b"x" * draw.choice([1000, 5000, 100_000])] if draw.random() < 0.02 else [b""]
                    case _:
                        frames = [b"\x01" + topic]
                if not attacker.send(socket, *frames):
                    break
                sent += 1
            attacker.hear(socket)
        if sent:
            pace.take(sent)
        else:
            time.sleep(0.002)
        if draw.random() < 0.02:
            index = draw.randrange(len(sockets))
            sockets[index].close(0)
            sockets[index] = attacker.socket(zmq.XSUB, "live")


def deaf(attacker: Attacker) -> None:
    """Subscribers of everything that read nothing: bare connections, so that nothing here takes it either."""
    connections: list[tcp.socket] = []
    while not attacker.is_over:
        if len(connections) < 200 and (connection := _join(attacker, "live", b"SUB")) is not None:
            connection.setsockopt(tcp.SOL_SOCKET, tcp.SO_RCVBUF, 4096)
            _write(attacker, connection, b"\x00\x01\x01")
            connections.append(connection)
            continue
        gone = [each for each in connections if _is_readable(each, 0) and not _peek(each)]
        for each in gone:
            attacker.counts["turned away"] += 1
            each.close()
            connections.remove(each)
        time.sleep(0.1)


def crowd(attacker: Attacker) -> None:
    """Thousands of connections in good order, each with a subscription or a session, that only stay."""
    pace = Pace(CONNECTIONS_PER_SECOND)
    connections: list[tcp.socket] = []
    ready = call(f"{PUSH}:readyToReceive", "C1", component="LIVE", want=[HOSTILE])
    openings = {
        "generator": (b"DEALER", call(f"{PING}:ping", "C1", echo=1)), "pusher": (b"DEALER", ready),
        "live": (b"SUB", b"\x01" + HOSTILE.encode())}
    while not attacker.is_over and len(connections) < 3000:
        pace.take()
        server = attacker.draw.choice(SERVERS)
        kind, opening = openings[server]
        if (connection := _join(attacker, server, kind)) is not None:
            _write(attacker, connection, bytes([0, len(opening)]) + opening)
            connections.append(connection)
    while not attacker.is_over:
        attacker.counts["turned away"] = sum(not _read(attacker, each) for each in connections)
        time.sleep(1)


def _peek(connection: tcp.socket) -> bool:
    try:
        return bool(connection.recv(1, tcp.MSG_PEEK))
    except OSError:
        return False


def storm(attacker: Attacker) -> None:
    """Connects and is gone, with and without a greeting, by reset and by the book."""
    draw = attacker.draw
    pace = Pace(CONNECTIONS_PER_SECOND * 2)
    while not attacker.is_over:
        pace.take()
        if draw.random() < 0.1:
            socket = attacker.socket(zmq.SUB if draw.random() < 0.3 else zmq.DEALER, draw.choice(SERVERS))
            socket.close(0)
            continue
        if (connection := _connect(attacker, draw.choice(SERVERS))) is None:
            continue
        if draw.random() < 0.5:
            _write(attacker, connection, _NULL + _ready(b"DEALER"))
        if draw.random() < 0.5:
            connection.setsockopt(tcp.SOL_SOCKET, tcp.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()
