"""A receiver with an inbox, which keeps balances, and an entry for each event that went into them. Some events fail now and then, in the
middle of their work."""

import os
import random
import sys

import psycopg

from eventstream import Batch, Event, Inbox, Receiver

TABLES = """
    CREATE TABLE entries (id bigint NOT NULL, account text NOT NULL, amount bigint NOT NULL, processed timestamptz NOT NULL DEFAULT now());
    CREATE TABLE balances (account text PRIMARY KEY, amount bigint NOT NULL);
"""
FAILURES = 0.002

inbox = Inbox("BILLING")
database = None


def work(batch: Batch) -> None:
    global database
    if database is None or database.closed:
        database = psycopg.connect(os.environ["EVT_INBOX_URL"], autocommit=True)
    with database.transaction():
        for event in inbox.accept(database, batch):
            process(event)


def process(event: Event) -> None:
    account, amount = event.data["account"], event.data["amount"]
    database.execute("INSERT INTO entries (id, account, amount) VALUES (%s, %s, %s)", [event.id, account, amount])
    if random.random() < FAILURES:
        raise ValueError("not now")
    database.execute("INSERT INTO balances VALUES (%s, %s) ON CONFLICT (account) DO UPDATE SET amount = balances.amount + excluded.amount",
                     [account, amount])


if __name__ == "__main__":
    Receiver("BILLING", endpoints=sys.argv[1], session_timeout=0.9).run(work, batches=True)
