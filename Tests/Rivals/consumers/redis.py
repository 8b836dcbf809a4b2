"""Redis Streams: the relay that fills one from an outbox, and its consumer. Raw RESP, read by hiredis.

python -m Rivals.consumers.redis TALLY OPTIONS, whose `role` is relay or consumer.
"""

import socket
from functools import partial

import hiredis

from Rivals.consumers.libpq import outbox_batches
from Rivals.tally import consume

KEPT = b"2000000"
"""Events that the stream keeps, about."""


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Redis:
    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(notEnoughData=...)

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def answer(self):
        while (answer := self._reader.gets()) is ...:
            self._reader.feed(self._socket.recv(1 << 20))
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        return answer


def relay(tally, options) -> None:
    redis = Redis(options["port"])
    batches = outbox_batches(options["url"])
    tally.ready()
    for batch in batches:
        redis.send(b"".join(command(b"XADD", b"ev", b"MAXLEN", b"~", KEPT, b"*", b"d", batch.get_value(row, 0))
                            for row in range(batch.ntuples)))
        for _ in range(batch.ntuples):
            redis.answer()
        tally.add(batch.ntuples, None)


def content(entries: list) -> bytes:
    return b"\n".join(fields[1] for _, fields in entries)


def consumer(tally, options) -> None:
    redis = Redis(options["port"])
    redis.send(command(b"XGROUP", b"CREATE", b"ev", b"g", b"0", b"MKSTREAM"))
    redis.answer()
    tally.ready()
    read = command(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"1000", b"BLOCK", b"5000", b"STREAMS", b"ev", b">")
    while True:
        redis.send(read)
        if found := redis.answer():
            entries = found[0][1]
            tally.add(len(entries), partial(content, entries))
            redis.send(command(b"XACK", b"ev", b"g", *(key for key, _ in entries)))
            redis.answer()


if __name__ == "__main__":
    consume(lambda tally, options: {"relay": relay, "consumer": consumer}[options["role"]](tally, options))
