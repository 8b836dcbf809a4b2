"""The receiver of etc/examples/inbox.py, which keeps balances, and an entry for each event that went into them. Some events fail now
and then, in the middle of their work."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "etc/examples"))

import inbox  # noqa: E402
import receiver  # noqa: E402

TABLES = """
    CREATE TABLE entries (id bigint NOT NULL, account text NOT NULL, amount bigint NOT NULL, processed timestamptz NOT NULL DEFAULT now());
    CREATE TABLE balances (account text PRIMARY KEY, amount bigint NOT NULL);
"""
FAILURES = 0.002


def process(database, event: dict) -> None:
    account, amount = event["data"]["account"], event["data"]["amount"]
    database.execute("INSERT INTO entries (id, account, amount) VALUES (%s, %s, %s)", [event["id"], account, amount])
    if random.random() < FAILURES:
        raise ValueError("not now")
    database.execute("INSERT INTO balances VALUES (%s, %s) ON CONFLICT (account) DO UPDATE SET amount = balances.amount + excluded.amount",
                     [account, amount])


if __name__ == "__main__":
    inbox.process, receiver.KEEP_ALIVE = process, 0.3
    inbox.InboxReceiver(sys.argv[1], "BILLING").run()
