"""Listens for payloads. With a table behind the notifications, reads it once at the start, and deletes what was processed in batches."""

import select
from functools import partial

from Rivals.consumers.libpq import Connection
from Rivals.tally import consume, rows_of


def delete(connection: Connection, ids: list[bytes]) -> None:
    connection.run(b"DELETE FROM outbox WHERE id = ANY('{%b}')" % b",".join(ids))
    ids.clear()


def read_table(tally, connection: Connection) -> set[bytes]:
    """Returns the ids of what was there: it may be notified of, too."""
    seen: list[bytes] = []
    while (rows := connection.run(b"SELECT id, data FROM outbox ORDER BY id LIMIT 1000")).ntuples:
        tally.add(rows.ntuples, rows_of(rows, 1))
        ids = [rows.get_value(row, 0) for row in range(rows.ntuples)]
        seen += ids
        delete(connection, ids)
    return set(seen)


def work(tally, options) -> None:
    connection, has_table = Connection(options["url"]), options["table"]
    connection.run(b"SET enable_seqscan = off; LISTEN ev")
    tally.ready()
    seen = read_table(tally, connection) if has_table else set()
    done: list[bytes] = []
    while True:
        connection.raw.consume_input()
        while notification := connection.raw.notifies():
            payload = notification.extra
            if has_table:
                key, _, payload = payload.partition(b" ")
                if key in seen:
                    continue
                done.append(key)
            tally.add(1, partial(bytes, payload))
            if len(done) >= 1000:
                delete(connection, done)
        # libpq may take in notifications while rows are deleted: it is asked again before anybody waits.
        if not select.select([connection.raw.socket], [], [], 0.02 if done else None)[0]:
            delete(connection, done)


if __name__ == "__main__":
    consume(work)
