"""NOTIFY with the payload, alone or with a table behind it."""

from __future__ import annotations

from Rivals.outbox import Outbox
from Rivals.rival import ROWS, called


class Notify(Outbox):
    name = "notify"
    what = "`pg_notify` of the payload, nothing stored"
    guarantees = "at most once: who is away misses it; up to 8000 bytes; order of commits; fan-out; a floor, no rival"
    rows = tuple(row for row in ROWS if row != "drain")
    keeps_order = True
    consumer_program = "notify"
    table = False

    def many(self, data: str, source: str) -> str:
        return called(f"pg_notify('ev', {data})", source)

    def options(self) -> dict:
        return {"url": self.site.url, "table": self.table}


class NotifyBox(Notify):
    name = "notifybox"
    what = ("outbox row and `pg_notify` of its payload in one statement; the table is read once at the start, "
            "processed rows are deleted in batches")
    guarantees = "at least once for one consumer; up to 8000 bytes; order of commits; nothing kept"
    rows = ROWS
    is_reliable = True
    table = True

    def many(self, data: str, source: str) -> str:
        return (f"WITH added AS ({Outbox.many(self, data, source)} RETURNING id, data) "
                "SELECT count(pg_notify('ev', id || ' ' || data)) FROM added")

    def fill(self, data: str, source: str) -> str:
        """Nobody listens: the table alone is read."""
        return Outbox.many(self, data, source)
