"""From the application to one consumer, at full speed: events a transaction x writers."""

from __future__ import annotations

import time

from Rivals.load import MANY, Load
from Rivals.measures.measure import PATIENCE, Run, arrival
from Rivals.report import Column, Results, table
from Rivals.world import WAL, processor, processor_of

SHAPES = ((1, 1), (1, 16), (MANY, 4))


def measure(run: Run, kind) -> None:
    for events, writers in SHAPES:
        once(run, kind, f"e2e {events}x{writers}", events, writers)


def once(run: Run, kind, row: str, events: int, writers: int, filler: str | None = None) -> None:
    """Writers at full speed, until all has come."""
    with run.world.trial(kind) as rival:
        load = Load(rival, writers, run.seconds, events=events, filler=filler)
        rival.start()
        server, consumer = rival.site.server, processor_of(*rival.consumer_pids)
        used, written = processor(server, *rival.pids), rival.site.value(WAL)
        rate = load.run() * events
        end, committed = time.time(), load.committed
        figures = {"written": rate}
        if rival.consumer:
            # With a fan-out each consumer gets all.
            expected = committed * rival.consumers
            came = arrival(rival, expected, PATIENCE * run.seconds)
            if came > expected:
                run.results.error(f"{row}: {kind.name} received {came} events of {expected}")
            lag = max(0.0, rival.seen.last - end) if came >= expected else time.time() - end
            # The writers' time is that between their first transaction and their last, without connecting.
            figures |= {"received": came / rival.consumers / (committed / rate + lag), "lag": lag * 1000,
                        "left": max(0, expected - came) / rival.consumers,
                        "consumer": (processor_of(*rival.consumer_pids) - consumer) / max(1, came) * 1e6}
        arrived = committed - figures.get("left", 0)
        run.results.add(row, kind.name, **figures, wal=float(rival.site.value(WAL) - written) / committed,
                        processor=(processor(server, *rival.pids) - used) / max(1, arrived) * 1e6)


def report(results: Results) -> str:
    return "\n\n".join(filter(None, (table(
        results, f"e2e {events}x{writers}", f"End to end, {events}x{writers}: events a transaction x writers, one consumer", [
            Column("received/s", "received"), Column("written/s", "written"), Column("all there after, ms", "lag"),
            Column("still to come", "left"), Column("processor, µs an event", "processor", 1),
            Column("consumer's, µs", "consumer", 1), Column("WAL, bytes an event", "wal")]) for events, writers in SHAPES)))
