"""A reliable receiver whose work is in a PostgreSQL of its own: each event counts once there.

    pip install './etc/python[inbox]'
    evt inbox --url URL                                # makes the inbox there
    EVT_INBOX_URL=URL python3 inbox.py COMPONENT [TYPE ...]
"""
import os
import signal
import sys

import psycopg

from eventstream import Batch, Event, Inbox, Receiver


def process(database: psycopg.Connection, event: Event) -> None:
    """Your work goes here, in the transaction that is open. If it raises, the event comes again after a pause."""
    print(event.id, event.type, event.data, flush=True)
    database.execute("INSERT INTO processed_events (id, data) VALUES (%s, %s)", [event.id, event.json])


def work(batch: Batch) -> None:
    global database
    if database.closed:
        database = connect()
    with database.transaction():
        for event in inbox.accept(database, batch):
            process(database, event)


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["EVT_INBOX_URL"], autocommit=True)


inbox, database = Inbox(sys.argv[1]), connect()
receiver = Receiver(sys.argv[1], want=sys.argv[2:] or None)
signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
try:
    receiver.run(work, batches=True)
except KeyboardInterrupt:
    sys.exit(130)
