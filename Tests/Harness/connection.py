"""One DEALER connection that is not made again behind our back: when it is lost, its owner knows."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass

import zmq

PUSH = "futoin.evt.push:1.1"
GENERATOR = "futoin.evt.gen:1.1"
ON_EVENTS = "futoin.evt.receiver:1.1:onEvents"


class Lost(Exception):
    """The connection is gone."""


@dataclass(frozen=True)
class Keys:
    """What a client has for CURVE: the server's public key, and a pair of its own; in Z85."""

    server: bytes
    public: bytes
    secret: bytes

    def apply(self, socket: zmq.Socket) -> None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self.server, self.public, self.secret


class Connection:
    """Sends calls and answers, and receives both, until it is lost."""

    keys: Keys | None = None
    """Those of every connection, if the servers ask for them."""

    def __init__(self, port: int, routing_id: bytes | None = None):
        self._numbers = itertools.count(1)
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        if routing_id is not None:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if self.keys is not None:
            self.keys.apply(self.socket)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED)
        self._poller = zmq.Poller()
        self._poller.register(self.socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def call(self, function: str, **parameters) -> str:
        """Sends a call and returns its rid."""
        rid = f"C{next(self._numbers)}"
        self.send({"f": function, "p": parameters, "rid": rid})
        return rid

    def send(self, message: dict) -> None:
        self.send_bytes(json.dumps(message).encode())

    def send_bytes(self, message: bytes) -> None:
        try:
            self.socket.send(message, zmq.DONTWAIT)
        except zmq.Again:
            raise Lost("there is no connection") from None

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

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close(0)
