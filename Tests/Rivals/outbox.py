"""A table of one's own: rows that a consumer deletes."""

from __future__ import annotations

import socket

from Harness.waiting import until_answered
from Rivals.rival import ROWS, Rival


class Outbox(Rival):
    name = "outbox"
    what = "INSERT into a table of one's own (id bigserial, type, data)"
    guarantees = "recording only"
    rows: tuple[str, ...] = ("recording",)

    def prepare(self) -> None:
        self.site.run("CREATE TABLE outbox (id bigserial PRIMARY KEY, type text NOT NULL, data text NOT NULL)")

    def many(self, data: str, source: str) -> str:
        return f"INSERT INTO outbox (type, data) SELECT 'ORDER', {data}" + (f" FROM {source}" if source else "")


class Skip(Outbox):
    name = "skip"
    what = "outbox; `DELETE … FOR UPDATE SKIP LOCKED LIMIT 1000` in a transaction, every 10 ms when empty"
    guarantees = "at least once; about the order of ids, not of commits; one consumer; nothing kept"
    rows = ROWS[1:]
    needs = ("none", "outbox")
    is_reliable = True
    consumer_program = "skip"


class Relayed(Outbox):
    """A broker behind a relay that reads the outbox as `Skip` does."""

    rows = ROWS[1:]
    needs = ("none", "outbox")
    is_reliable = True
    port: int

    def wait_for_broker(self) -> None:
        until_answered(lambda: socket.create_connection(("127.0.0.1", self.port)).close(), ConnectionError, every=0.02)

    def options(self) -> dict:
        return {"role": "consumer", "port": self.port}

    def start_relay(self) -> None:
        self.relay(self.consumer_program, port=self.port, url=self.site.url)
