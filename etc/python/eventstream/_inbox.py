"""Counting each event once in a PostgreSQL of the application's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ._batch import Batch
from ._errors import EventStreamError
from ._events import Event


def fingerprint(event: Event) -> int:
    """Tells the event from another one that gets its id after a fail-over: 64 bits that depend on all there is of it.

    Never another one for the same event: it is compared with those that are stored.
    """
    text = "\0".join((event.type, event.ts, "" if event.us is None else str(event.us), event.json))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


class Inbox:
    """Knows which events were processed, in the database where ``evt inbox --url URL`` has made its tables.

    ::

        inbox = Inbox("BILLING")

        def bill(batch):
            with psycopg.connect(URL) as database:                   # one transaction
                for event in inbox.accept(database, batch):          # the events that are new
                    database.execute("INSERT INTO bills …")

        Receiver("BILLING").run(bill, batches=True)

    Args:
        name: Names the work in the inbox, such as the consumer's name. A receiver whose work is in several databases has an inbox in each.
        schema: Where the inbox is; None to find it by the search path.
    """

    def __init__(self, name: str, *, schema: str | None = None) -> None:
        self.name = name
        parts = [part.replace('"', '""').replace("%", "%%") for part in (schema, "evt_inbox_claim") if part]
        self._function = ".".join(f'"{part}"' for part in parts)

    def accept(self, connection: Any, events: Batch | Event | Iterable[Event]) -> list[Event]:
        """Notes events as processed in the transaction that is open, and returns those that were not processed before.

        The first statement of the transaction that does the work. Either the work and the note are committed, or neither is.

        Args:
            connection: Of psycopg 3 or psycopg2, or a cursor, with a transaction open (or about to begin).
            events: A batch; or one of its events, or the first ones of them.
        Returns:
            The events to process, in their order.
        Raises:
            EventStreamError: ``NotImplemented`` if the pusher is too old to tell the generation of the stream.
            Exception: The database's error. SQLSTATE 55000 says that the events are of a generation of the stream that is over: reject
                them. 40001 may come in ``REPEATABLE READ`` and ``SERIALIZABLE``: run the transaction again.
        """
        statement, values, wanted = self._claim(events)
        if not wanted:
            return []
        cursor = connection.cursor() if hasattr(connection, "cursor") else connection
        cursor.execute(statement, values)
        return _accepted(wanted, cursor.fetchall())

    async def accept_async(self, connection: Any, events: Batch | Event | Iterable[Event]) -> list[Event]:
        """As :meth:`accept`, for an ``AsyncConnection`` of psycopg 3 or a cursor of one."""
        statement, values, wanted = self._claim(events)
        return _accepted(wanted, await (await connection.execute(statement, values)).fetchall()) if wanted else []

    def _claim(self, events: Batch | Event | Iterable[Event]) -> tuple[str, list[Any], list[Event]]:
        wanted = [events] if isinstance(events, Event) else list(events)
        if not wanted:
            return "", [], []
        source = wanted[0].source
        if source.origin is None:
            raise EventStreamError("NotImplemented", "the pusher does not tell the generation of the stream: upgrade the pusher")
        name = self.name if source.slice is None else f"{self.name}/{source.slice}.{source.slices}"
        return (f"SELECT {self._function}(%s::text, %s::json, %s::bigint[], %s::bigint[], %s::boolean)",
                [name, source.origin.json, [event.id for event in wanted], [fingerprint(event) for event in wanted], source.parked],
                wanted)


def _accepted(events: list[Event], rows: list[Any]) -> list[Event]:
    ids = {next(iter(row.values())) if isinstance(row, dict) else row[0] for row in rows}
    return [event for event in events if event.id in ids]
