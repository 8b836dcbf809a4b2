"""A receiver by etc/docs/protocol.md that counts events in the bytes, and answers each group."""

import json
import time
from functools import partial

import zmq

from Rivals.tally import consume

SIGN_OF_LIFE = 4
"""Seconds; the protocol asks for one every 5 s at least."""


class Receiver:
    def __init__(self, tally, endpoint: str, component: str):
        self._tally, self.is_ready = tally, False
        self._ask = json.dumps({"f": "futoin.evt.push:1.1:readyToReceive", "p": {"component": component}, "rid": "C1"}).encode()
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.rcvtimeo = SIGN_OF_LIFE * 1000
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 5000, 15000
        self.socket.connect(endpoint)
        self.ask()

    def ask(self) -> None:
        self._asked = time.monotonic()
        self.socket.send(self._ask)

    def take(self) -> None:
        message = self.socket.recv()
        if b":onEvents" in message[:64]:
            self._tally.add(message.count(b'"id":'), partial(bytes, message))
            self.socket.send(b'{"r":true,"rid":"S' + message[message.rindex(b'"rid":"S') + 8:])
        elif message.startswith(b'{"r":true'):
            self.is_ready = True
        else:
            raise RuntimeError(message.decode())
        if time.monotonic() - self._asked > SIGN_OF_LIFE:
            self.ask()


def work(tally, options) -> None:
    receivers = [Receiver(tally, options["endpoint"], component) for component in options["components"]]
    for receiver in receivers:
        while not receiver.is_ready:
            receiver.take()
    tally.ready()
    if len(receivers) == 1:
        while True:
            try:
                receivers[0].take()
            except zmq.Again:
                receivers[0].ask()
    poller, by_socket = zmq.Poller(), {receiver.socket: receiver for receiver in receivers}
    for each in by_socket:
        poller.register(each, zmq.POLLIN)
    while True:
        ready = poller.poll(SIGN_OF_LIFE * 1000)
        for each, _ in ready:
            by_socket[each].take()
        if not ready:
            for receiver in receivers:
                receiver.ask()


if __name__ == "__main__":
    consume(work)
