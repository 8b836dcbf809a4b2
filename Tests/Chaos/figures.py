"""What the run measured."""

from __future__ import annotations

import statistics
from collections import Counter

from faults import Ended
from Harness.invariants import Truth
from Harness.findings import table
from Harness.record import Record


def longest_stall(record: Record, truth: dict[int, Truth]) -> tuple[float, float]:
    """The longest time without an event although one was recorded, and when it ended."""
    longest, at, last = 0.0, 0.0, 0.0
    for arrived, number in record.arrivals:
        if number in truth:
            waited = arrived - max(last, truth[number].recorded)
            if waited > longest:
                longest, at = waited, arrived
        last = arrived
    return longest, at


def recovery(ended: list[Ended], record: Record, truth: dict[int, Truth]) -> dict[str, list[float]]:
    """For each kind of fault, how long after each one the first event recorded after it was received."""
    times: dict[str, list[float]] = {}
    for over in ended:
        for arrived, number in record.arrivals:
            if arrived > over.at and number in truth and truth[number].recorded > over.at:
                times.setdefault(over.fault.kind, []).append(arrived - over.at)
                break
    return times


def receivers(records: list[Record], reliable: list[Record], truth: dict[int, Truth], begin: float) -> str:
    rows = [["receiver", "events", "again", "sessions", "longest stall"]]
    for record in records:
        stall = longest_stall(record, truth)
        rows.append([record.name, str(len(record.first)), str(record.duplicates), str(record.sessions or "-"),
                     f"{stall[0]:.1f} s, until {stall[1] - begin:.1f}" if record in reliable else "-"])
    return table(rows)


def faults(ended: list[Ended], record: Record, truth: dict[int, Truth]) -> str:
    times = recovery(ended, record, truth)
    rows = [["fault", "times", "recovery: median", "longest"]]
    for kind, count in sorted(Counter(over.fault.kind for over in ended).items()):
        measured = times.get(kind)
        shown = [f"{statistics.median(measured):.2f} s", f"{max(measured):.2f} s"] if measured else ["-", "-"]
        rows.append([kind, str(count), *shown])
    return table(rows)
