"""PgQueuer, the library: it cannot be made lean."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from Harness.processes import run
from Rivals.rival import Rival


class PgQueuer(Rival):
    name = "pgqueuer"
    what = "the library's own enqueue statement, install and autovac; asyncpg, uvloop, batch_size 100 (default 10)"
    guarantees = "at least once; order of ids at dispatch; one consumer of a job; a log of states kept"
    is_reliable = True
    drain_events = 20_000
    consumer_program = "pgqueuer"

    @classmethod
    def missing(cls) -> str:
        return "" if all(map(find_spec, ("pgqueuer", "asyncpg", "uvloop"))) else "pgqueuer, asyncpg and uvloop (PyPI)"

    def prepare(self) -> None:
        for command in ("install", "autovac"):
            run(Path(sys.executable).parent / "pgq", "--pg-dsn", self.site.url, command)

    def many(self, data: str, source: str) -> str:
        from pgqueuer.adapters.persistence.qb import QueryQueueBuilder

        statement = re.sub(r"--.*", "", QueryQueueBuilder().build_enqueue_query())
        values = ("0", "'ev'::text", f"convert_to({data}, 'UTF8')", "'0'::interval", "NULL::text", "NULL::jsonb")
        for number, value in enumerate(values, 1):
            array = f"(SELECT array_agg({value}) FROM {source})" if source else f"ARRAY[{value}]"
            statement = statement.replace(f"${number}", array)
        return re.sub(r"\s+", " ", statement)
