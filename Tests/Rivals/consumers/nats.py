"""NATS JetStream: the relay that fills a stream from an outbox, and its pull consumer. The raw protocol.

python -m Rivals.consumers.nats TALLY OPTIONS, whose `role` is relay or consumer.
"""

import json
import socket
from collections.abc import Iterator
from functools import partial

from Rivals.consumers.libpq import outbox_batches
from Rivals.tally import consume

BATCH = 1000


class Nats:
    def __init__(self, port: int, inbox: bytes):
        self.inbox = inbox
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB %b 1\r\n' % inbox)

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """What has come, once something has: where to answer, and the content; of the server's own messages the header."""
        piece = self._socket.recv(1 << 20)
        assert piece, "the NATS server has closed the connection"
        data, start = self._buffer + piece, 0
        while (end := data.find(b"\r\n", start)) >= 0:
            words = data[start:end].split(b" ")
            if words[0] in (b"MSG", b"HMSG"):
                size = int(words[-1])
                if len(data) < end + size + 4:
                    break
                answers = len(words) > (5 if words[0] == b"HMSG" else 4)
                yield words[3] if answers else b"", data[end + 2:end + 2 + size]
                start = end + size + 4
                continue
            if words[0] == b"PING":
                self.send(b"PONG\r\n")
            assert words[0] != b"-ERR", data[start:end]
            start = end + 2
        self._buffer = data[start:]

    def request(self, subject: str, body: dict) -> None:
        """A call of the server's API, which must not fail, before anything else is asked for."""
        text = json.dumps(body).encode()
        self.send(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), self.inbox, len(text), text))
        while not (answers := [answer for _, answer in self.messages()]):
            pass
        assert b'"error"' not in answers[0], answers[0]


def relay(tally, options) -> None:
    nats = Nats(options["port"], b"relay")
    batches = outbox_batches(options["url"])
    tally.ready()
    for batch in batches:
        rows = (batch.get_value(row, 0) for row in range(batch.ntuples))
        nats.send(b"".join(b"PUB ev %b %d\r\n%b\r\n" % (nats.inbox, len(row), row) for row in rows))
        waiting = batch.ntuples
        while waiting:
            for _, answer in nats.messages():
                assert b'"seq"' in answer, answer
                waiting -= 1
        tally.add(batch.ntuples, None)


def consumer(tally, options) -> None:
    nats = Nats(options["port"], b"consumer")
    nats.request("$JS.API.STREAM.CREATE.EV", {"name": "EV", "subjects": ["ev"], "storage": "file", "retention": "limits"})
    nats.request("$JS.API.CONSUMER.DURABLE.CREATE.EV.C", {"stream_name": "EV", "config": {
        "durable_name": "C", "ack_policy": "all", "deliver_policy": "all", "max_ack_pending": 10 * BATCH}})
    tally.ready()
    asked = 0
    ask = json.dumps({"batch": BATCH, "expires": 30_000_000_000}).encode()
    while True:
        if asked == 0:
            nats.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.EV.C %b %d\r\n%b\r\n" % (nats.inbox, len(ask), ask))
            asked = BATCH
        found, last = [], b""
        for answer, body in nats.messages():
            if answer:
                found.append(body)
                last = answer
            else:
                # The request has ended: its time is over.
                asked = len(found)
        if found:
            tally.add(len(found), partial(b"\n".join, found))
            nats.send(b"PUB %b 4\r\n+ACK\r\n" % last)
            asked -= len(found)


if __name__ == "__main__":
    consume(lambda tally, options: {"relay": relay, "consumer": consumer}[options["role"]](tally, options))
