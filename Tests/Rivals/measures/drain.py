"""How fast what has waited is delivered."""

from __future__ import annotations

import os
import subprocess
import time

from Rivals.load import fill
from Rivals.measures.measure import Run, arrival
from Rivals.report import Column, Results, table
from Rivals.world import processor

COPY = "COPY TO STDOUT of evt's table"
PATIENCE = 300


def measure(run: Run, kind) -> None:
    once(run, kind, "drain", min(kind.drain_events, round(kind.drain_events * run.seconds / 4)), with_copy=kind.name == "evt")


def once(run: Run, kind, row: str, count: int, *, with_copy: bool = False) -> None:
    with run.world.trial(kind) as rival:
        if rival.runs_while_filled:
            rival.start_servers()
        fill(rival, count)
        # What was filled has been written by then, as a backlog of yesterday has.
        rival.site.run("VACUUM ANALYZE", "CHECKPOINT")
        if with_copy:
            copy(run, rival, count)
        used = processor(rival.site.server, *rival.pids)
        rival.start()
        if (came := arrival(rival, count, PATIENCE)) != count:
            run.results.error(f"{row}: {kind.name} received {came} events of {count}")
        run.results.add(row, kind.name, events=came / (rival.seen.last - rival.seen.begin),
                        processor=(processor(rival.site.server, *rival.pids) - used) / count * 1e6)


def copy(run: Run, rival, count: int) -> None:
    """The baseline: the server writes the same rows of the table to a pipe."""
    with subprocess.Popen([rival.site.postgres / "psql", "-X", rival.site.url, "-c", "COPY (SELECT * FROM evt_queue) TO STDOUT"],
                          stdout=subprocess.PIPE) as psql:
        lines, begin = 0, time.monotonic()
        while piece := os.read(psql.stdout.fileno(), 1 << 20):
            # Until psql has connected is not counted.
            begin = begin if lines else time.monotonic()
            lines += piece.count(b"\n")
        seconds = time.monotonic() - begin
    if psql.returncode != 0 or lines != count:
        run.results.error(f"drain: COPY TO STDOUT wrote {lines} rows of {count}")
    run.results.add("drain", COPY, events=count / seconds)


def report(results: Results) -> str:
    return table(results, "drain", "Drain: a backlog to one consumer", [
        Column("events/s", "events"), Column("processor, µs an event", "processor", 1)])
