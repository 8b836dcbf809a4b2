"""Consumers of PgQ: each takes a batch and finishes it in one transaction, and looks every 20 ms while there is none."""

import threading
import time

from Rivals.consumers.libpq import Connection
from Rivals.tally import consume, rows_of


def connect(url: str) -> Connection:
    connection = Connection(url)
    connection.prepare(b"next", b"SELECT pgq.next_batch('ev', $1::text)")
    connection.prepare(b"events", b"SELECT ev_data, ev_id, ev_type FROM pgq.get_batch_events($1::bigint)")
    connection.prepare(b"finish", b"SELECT pgq.finish_batch($1::bigint)")
    return connection


def serve(tally, connection: Connection, name: bytes) -> None:
    while True:
        connection.run(b"BEGIN")
        batch = connection.execute(b"next", name).get_value(0, 0)
        if batch is not None:
            events = connection.execute(b"events", batch)
            if events.ntuples:
                tally.add(events.ntuples, rows_of(events, 0))
            connection.execute(b"finish", batch)
        connection.run(b"COMMIT")
        if batch is None:
            time.sleep(0.02)


def work(tally, options) -> None:
    consumers = [(tally, connect(options["url"]), name.encode()) for name in options["components"]]
    tally.ready()
    # libpq waits without the interpreter's lock.
    for consumer in consumers[1:]:
        threading.Thread(target=serve, args=consumer, daemon=True).start()
    serve(*consumers[0])


if __name__ == "__main__":
    consume(work)
