"""PostgreSQL as the lean consumers use it: psycopg's wrapper of libpq in C, whose rows never become Python objects."""

from __future__ import annotations

import time
from collections.abc import Iterator

from psycopg import pq

_GOOD = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
assert pq.__impl__ != "python", "psycopg has no part in C here: install psycopg[binary] or psycopg[c]"


class Connection:
    def __init__(self, url: str):
        self.raw = pq.PGconn.connect(url.encode())
        assert self.raw.status == pq.ConnStatus.OK, self.raw.error_message

    def run(self, sql: bytes):
        """Runs statements, and returns the result of the last."""
        return self._checked(self.raw.exec_(sql))

    def prepare(self, name: bytes, sql: bytes) -> None:
        self._checked(self.raw.prepare(name, sql))

    def execute(self, name: bytes, *parameters: bytes):
        return self._checked(self.raw.exec_prepared(name, parameters))

    def _checked(self, result):
        if result.status not in _GOOD:
            raise RuntimeError(result.error_message)
        return result


_TAKE = b"""BEGIN; DELETE FROM outbox WHERE id = ANY(ARRAY(
    SELECT id FROM outbox ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING data"""


def outbox_batches(url: str) -> Iterator:
    """Rows of an outbox, which are gone once the next batch is asked for."""
    connection = Connection(url)
    # A plan that was made while the table was empty would read all of it; each batch is planned.
    connection.run(b"SET enable_seqscan = off")
    while True:
        batch = connection.run(_TAKE)
        if batch.ntuples:
            yield batch
        connection.run(b"COMMIT")
        if not batch.ntuples:
            time.sleep(0.01)
