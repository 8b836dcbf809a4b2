"""An order service and its billing, as a user of the package writes them. Everything of it may be killed."""

import json
import os
import random
import sys

import psycopg

from eventstream import Inbox, Receiver, add


ROLE, KIND, OPTIONS = sys.argv[1:]


def shop() -> None:
    """Takes orders, each in a transaction with its event."""
    with psycopg.connect(os.environ["EVT_DATABASE_URL"]) as database:
        while True:
            order = database.execute("INSERT INTO orders (amount) VALUES (%s) RETURNING id", [random.randint(1, 100)]).fetchone()[0]
            add(database, KIND, {"order": order}, key=f"order {order % 10}")
            database.commit() if random.random() < 0.9 else database.rollback()


inbox = Inbox(KIND)


def bill(batch) -> None:
    """Bills orders in a database of its own."""
    with psycopg.connect(os.environ["EVT_INBOX_URL"]) as database:
        for event in inbox.accept(database, batch):
            database.execute("INSERT INTO bills (order_id) VALUES (%s)", [event.data["order"]])


if __name__ == "__main__":
    if ROLE == "shop":
        shop()
    Receiver(KIND, want=KIND, session_timeout=2, **json.loads(OPTIONS)).run(bill, batches=True)
