"""What recording costs the application while nobody consumes."""

from __future__ import annotations

from Rivals.load import Load
from Rivals.measures.measure import Run
from Rivals.report import Column, Results, table

CLIENTS = (1, 16)


def measure(run: Run, kind) -> None:
    for clients in CLIENTS:
        with run.world.trial(kind) as rival:
            run.results.add("recording", kind.name, **{f"c{clients}": Load(rival, clients, run.seconds).run()})


def report(results: Results) -> str:
    def baseline(rival: str) -> str:
        return "none, wal_level=logical" if rival == "logical" else "none"

    columns = []
    for clients in CLIENTS:
        writers = f"{clients} client{'s' if clients > 1 else ''}"
        columns += [Column(f"{writers}, transactions/s", f"c{clients}"), Column("share", f"c{clients}", 2, beside=baseline),
                    Column("share while all runs", "written", 2, row=f"e2e 1x{clients}", beside=lambda rival: "none")]
    return table(results, "recording", "Recording: one event a transaction; nobody consumes, or all runs. "
                 "The share is that of the same transaction without an event.", columns)
