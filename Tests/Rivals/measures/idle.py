"""What it costs while nothing happens."""

from __future__ import annotations

import re
import time
from collections import Counter

from Rivals.measures.measure import Run
from Rivals.report import Column, Results, table
from Rivals.world import WAL, processor, processor_of

LONGER = 2
SETTLING = 2
"""Seconds until what follows a start is over."""
_STATEMENT = re.compile(r"(?m)^\S+ \S+ \S+ \[\d+\] (\S*).*? LOG:  (?:statement|execute \S+): ")


def measure(run: Run, kind) -> None:
    with run.world.trial(kind) as rival:
        rival.start()
        seconds, written = run.seconds * LONGER, rival.site.value(WAL)
        time.sleep(SETTLING)
        before = used(rival)
        time.sleep(seconds)
        share = {name: (after - before[name]) / seconds * 100 for name, after in used(rival).items()}
        wal = float(rival.site.value(WAL) - written) / (SETTLING + seconds)
        statements = executed(rival.site.server, seconds)
        rival.check()
        run.results.add("idle", kind.name, processor=sum(share.values()) - share["consumer"], consumer=share["consumer"], wal=wal,
                        busiest=max((share[name] for name in share if name not in ("postgres", "consumer")), default=0.0),
                        statements=statements.total() / seconds, most=max(statements.values(), default=0) / seconds)


def used(rival) -> dict[str, float]:
    """Seconds of processor of all that lives."""
    return {"postgres": processor(rival.site.server), "consumer": processor_of(*rival.consumer_pids),
            **{process.name: processor_of(process.pid) for process in rival.servers}}


def executed(server, seconds: float) -> Counter[str]:
    """Statements by the program that sends them; writing them down costs, so the processor's time is not measured meanwhile."""
    log_statements(server, "SET log_statement = 'all'")
    size = server.log.stat().st_size
    time.sleep(seconds)
    log = server.log.read_bytes()[size:].decode()
    log_statements(server, "RESET log_statement")
    return Counter(_STATEMENT.findall(log))


def log_statements(server, how: str) -> None:
    server.run(f"ALTER SYSTEM {how}")
    server.run("SELECT pg_reload_conf()")
    time.sleep(0.3)


def report(results: Results) -> str:
    return table(results, "idle", "Idle", [
        Column("processor, % of a core", "processor", 2), Column("busiest server or relay, %", "busiest", 2),
        Column("consumer, %", "consumer", 2), Column("statements/s", "statements", 2),
        Column("of the busiest process", "most", 2), Column("WAL, bytes/s", "wal")])
