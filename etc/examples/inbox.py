"""A reliable receiver whose work is in a PostgreSQL of its own: each event counts once there.

    evt inbox --url URL                                # makes the inbox there
    EVT_INBOX_URL=URL python3 inbox.py COMPONENT [TYPE ...]
"""
import hashlib
import json
import os
import sys

import psycopg

from receiver import DONE, Receiver, unprocessed

CLAIM = "SELECT evt_inbox_claim(%s, %s, %s, %s, %s)"


def process(database: psycopg.Connection, event: dict) -> None:
    """Your work goes here, in the transaction that is open. If it raises, the event comes again after a pause."""
    print(event["id"], event["type"], event["data"], flush=True)
    database.execute("INSERT INTO processed_events (id, data) VALUES (%s, %s)", [event["id"], json.dumps(event["data"])])


def fingerprint(event: dict) -> int:
    """Tells the event from another one that gets its id after a fail-over: 64 bits that depend on all there is of it."""
    text = json.dumps([event["type"], event["ts"], event["us"], event["data"]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


class Failed(Exception):
    """An event cannot be processed."""

    def __init__(self, event: dict, reason: Exception):
        super().__init__(str(reason))
        self.event = event


class InboxReceiver(Receiver):
    database: psycopg.Connection | None = None

    def processed(self, call: dict, origin: dict, last_id: int) -> tuple[dict, int]:
        """Processes a group; returns the answer to it. The inbox knows what was processed before."""
        events, is_parked = call["events"], call.get("parked", False)
        answer = DONE
        try:
            while events:
                try:
                    self.transact(events, origin, is_parked)
                    break
                except Failed as failed:
                    # Nothing of the transaction is left: what precedes the event is processed without it.
                    events = events[:events.index(failed.event)]
                    answer = unprocessed(failed.event, failed, events[-1]["id"] if events else None)
        except psycopg.Error as error:
            # Perhaps the commit went through and only its answer was lost: the inbox will know.
            self.database = None
            answer = unprocessed(events[0], error) if is_parked else {"e": "InternalError", "edesc": str(error)}
        return answer, last_id

    def transact(self, events: list[dict], origin: dict, is_parked: bool) -> None:
        """Processes the events that were not processed before, in one transaction."""
        if self.database is None:
            self.database = psycopg.connect(os.environ["EVT_INBOX_URL"], autocommit=True)
        with self.database.transaction():
            ids = [int(event["id"]) for event in events]
            fingerprints = [fingerprint(event) for event in events]
            claim = [self.component, json.dumps(origin), ids, fingerprints, is_parked]
            claimed = {row[0] for row in self.database.execute(CLAIM, claim)}
            for event in events:
                if int(event["id"]) not in claimed:
                    continue
                try:
                    process(self.database, event)
                except Exception as error:
                    if self.database.closed:
                        raise
                    raise Failed(event, error) from error


if __name__ == "__main__":
    try:
        InboxReceiver(os.environ.get("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"), sys.argv[1], sys.argv[2:] or None).run()
    except KeyboardInterrupt:
        sys.exit(130)
