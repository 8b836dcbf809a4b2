"""Instructions that PostgreSQL takes for a transaction that records an event, counted by callgrind.

The backend is alone (`postgres --single`): no other process has a part in what is counted.
"""

from __future__ import annotations

from Harness.postgres import Server

TRANSACTIONS = 300
_DATA = '{"order":4711,"customer":20817,"items":[17,4,1],"total":129.95,"note":"' + 80 * "x" + '"}'
_MARK = "pg_backend_pid"
"""When this function is called, callgrind writes what it has counted, and begins anew."""

_SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "shared_buffers": "8MB",
    # Statistics are written by the clock.
    "track_counts": "off",
    # For a transaction that has the latch as the pusher has.
    "max_prepared_transactions": "1", "eventstream.notify": "on",
}
_OUTBOX = ("CREATE TABLE outbox (id bigserial PRIMARY KEY, type text NOT NULL, data json NOT NULL, "
           "ts timestamptz NOT NULL DEFAULT clock_timestamp())")
_PLAIN = "INSERT INTO outbox (type, data) VALUES ('ALPHA', event) RETURNING outbox.id INTO id"
_EVT_ADD = "SELECT evt_add('ALPHA', event) INTO id"
_PUSHER_HAS_READ = "SELECT setval('evt_queue_id_seq', 1000), setval('evt_queue_settled', 1000)"
_PUSHER_SLEEPS = [
    "BEGIN", "SELECT pg_advisory_xact_lock((1163285587::bigint << 32) | 'evt_queue'::regclass::oid::bigint)",
    "PREPARE TRANSACTION 'asleep'"]


def _transactions(statement: str, count: int) -> str:
    """As of a client with a prepared statement: the plan is kept."""
    return f"DO $$DECLARE event json := '{_DATA}'; id bigint; BEGIN FOR n IN 1..{count} LOOP {statement}; COMMIT; END LOOP; END$$"


def _counted(statement: str) -> list[str]:
    mark = f"SELECT {_MARK}()"
    return [_transactions(statement, 20), mark, _transactions(statement, TRANSACTIONS), mark]


def count_instructions(server: Server, database: str) -> dict[str, float]:
    """What a transaction with evt_add takes, as a multiple of what one with the same INSERT into a plain table takes.

    The server must be stopped.
    """
    counts = server.directory / "callgrind"
    statements = [_OUTBOX, _PUSHER_HAS_READ, *_counted(_PLAIN), *_counted(_EVT_ADD), *_PUSHER_SLEEPS, *_counted(_EVT_ADD)]
    server.run_alone(statements, database, _SETTINGS, (
        "valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", f"--dump-before={_MARK}"))

    def counted(part: int) -> float:
        lines = counts.with_suffix(f".{part}").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("totals:")).split()[1]) / TRANSACTIONS

    # The odd parts are what came before.
    plain, awake, asleep = counted(2), counted(4), counted(6)
    print(f"instructions: INSERT {plain:.0f}, evt_add {awake:.0f}, while the pusher sleeps {asleep:.0f}")
    return {"evt_add": awake / plain, "evt_add while the pusher sleeps": asleep / plain}
