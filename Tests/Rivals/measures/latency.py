"""From COMMIT's return, as the application sees it, to the event in the consumer's hands."""

from __future__ import annotations

from Rivals.load import Load
from Rivals.measures.measure import PATIENCE, Run, arrival
from Rivals.report import Column, Results, table

RATES = ((20, 1, 2.5), (1000, 8, 1.25), (5000, 16, 1.25))
"""Transactions a second, writers, and how much longer than others it takes."""
PARTS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))


def measure(run: Run, kind) -> None:
    for rate, writers, longer in RATES:
        with run.world.trial(kind) as rival:
            load = Load(rival, writers, run.seconds * longer, rate=rate)
            rival.start(keep=True)
            reached = load.run()
            arrival(rival, load.committed, PATIENCE * run.seconds)
            rival.stop_consumer()
            commits, arrivals = load.commits(), rival.seen.times()
            waits = sorted(arrivals[key][0] - commits[key] for key in commits if key in arrivals)
            check(run, f"latency {rate}/s: {kind.name}", commits, arrivals)
            if waits:
                run.results.add("latency", kind.name, **{f"{rate} reached": reached}, **{
                    f"{rate} {name}": max(0.0, 1000 * waits[min(len(waits) - 1, int(part * len(waits)))]) for name, part in PARTS})


def check(run: Run, what: str, commits: dict, arrivals: dict) -> None:
    """What came is what was committed, each once: nothing was restarted meanwhile."""
    lost, strange = len(commits.keys() - arrivals.keys()), len(arrivals.keys() - commits.keys())
    twice = sum(len(times) > 1 for times in arrivals.values())
    if lost or strange or twice:
        run.results.error(f"{what}: of {len(commits)} events {lost} did not come, {twice} came twice, {strange} nobody has committed")


def report(results: Results) -> str:
    columns = [Column(f"{rate}/s {name}", f"{rate} {name}", 2) for rate, _, _ in RATES for name, _ in PARTS[:2 if rate == 20 else 3]]
    return table(results, "latency", "Latency: ms from COMMIT's return to receipt", [
        *columns, Column(f"{RATES[-1][0]}/s reached", f"{RATES[-1][0]} reached")])
