"""Sockets of ZeroMQ as clients of the stream have them: addresses, keys, calls out."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time

import zmq

standard_keys = None
"""What sockets use that are not given keys of their own (`keys.Keys`); None for none."""


def local(port: int) -> str:
    """The address of a port of this machine."""
    return f"tcp://127.0.0.1:{port}"


def free_endpoint() -> str:
    """A loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return local(probe.getsockname()[1])


def tcp_port(endpoint: str) -> int:
    """The port of a tcp endpoint."""
    match = re.fullmatch(r"tcp://127\.0\.0\.1:([0-9]+)", endpoint)
    assert match, f"not a loopback tcp endpoint: {endpoint}"
    return int(match[1])


def new_socket(kind: int, keys=None) -> zmq.Socket:
    """A socket with these keys, or the standard ones."""
    made = zmq.Context.instance().socket(kind)
    if keys or standard_keys:
        (keys or standard_keys).set_on(made)
    return made


class Lost(Exception):
    """The connection is gone."""


class Dealer:
    """One DEALER connection: sends calls, and whatever else is sent.

    A `routing_id` of one's own keeps a session over a reconnect. `receive_limit` is the receive high-water mark. `keys` are those of a
    user (`keys.Keys`), where the server has keys.
    """

    def __init__(self, endpoint: str, *, routing_id: bytes | None = None, receive_limit: int | None = None, keys=None):
        self._numbers = itertools.count(1)
        self.socket = new_socket(zmq.DEALER, keys)
        if routing_id is not None:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if receive_limit is not None:
            self.socket.setsockopt(zmq.RCVHWM, receive_limit)
        self.prepare()
        self.socket.connect(endpoint)

    def prepare(self) -> None:
        """Sets what must be set before the socket connects."""

    def close(self, linger: float = 0) -> None:
        """Closes the connection, after at most `linger` seconds for messages still to be sent."""
        self.socket.close(linger=int(linger * 1000))

    def send_frames(self, *frames: bytes) -> None:
        """Sends one message of exactly these frames."""
        self.socket.send_multipart(frames)

    def send(self, payload: str | bytes) -> None:
        """Sends one payload."""
        self.send_frames(payload.encode("utf-8") if isinstance(payload, str) else payload)

    def request(self, function: str, params: dict | None = None, **more) -> str:
        """Sends a call and returns its rid, without waiting: calls may be pipelined."""
        rid = f"C{next(self._numbers)}"
        self.send(json.dumps({"f": function, "p": params or {}, "rid": rid, **more}))
        return rid


class Connection(Dealer):
    """A connection that is not made again behind our back: when it is lost, its owner knows."""

    def prepare(self) -> None:
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED)
        self._poller = zmq.Poller()
        self._poller.register(self.socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def send_frames(self, *frames: bytes) -> None:
        try:
            self.socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            raise Lost("there is no connection") from None

    def reply(self, rid: str, **outcome) -> None:
        """Answers a call of the pusher."""
        self.send(json.dumps({**outcome, "rid": rid}))

    def receive(self, seconds: float) -> dict | None:
        """The next message, if one comes in time."""
        ready = dict(self._poller.poll(max(0, int(seconds * 1000))))
        if self.socket in ready:
            return json.loads(self.socket.recv_multipart()[-1])
        if self._monitor in ready:
            raise Lost("the connection was lost")
        return None

    def answer(self, rid: str, seconds: float) -> dict | None:
        """Waits for the answer to one call; others are dropped."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self.receive(left)
            if message is not None and message.get("rid") == rid:
                return message
        return None

    def close(self, linger: float = 0) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        super().close(linger)
