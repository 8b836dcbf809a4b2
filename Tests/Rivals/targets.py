"""What EventStream is to reach beside the others."""

from __future__ import annotations

from Rivals.measures import drain
from Rivals.report import Results, number

SHAPES = ("e2e 1x1", "e2e 1x16")


def _ratios(results: Results, orderly: list[str], reliable: list[str]):
    """What is compared, with which rival, the ratio of evt to it, the mark, and whether more is better."""
    def ratio(row: str, figure: str, other: str) -> float | None:
        return results.ratio(row, "evt", other, figure)

    def best(row: str, figure: str, names: list[str]) -> str:
        return max((name for name in names if results.get(row, name, figure) is not None), default="none",
                   key=lambda name: results.get(row, name, figure))

    for clients, mark in ((1, 0.9), (16, 0.85)):
        yield f"recording, {clients} client{'s' * (clients > 1)}", "outbox", ratio("recording", f"c{clients}", "outbox"), mark, True
        yield f"recording, {clients} client{'s' * (clients > 1)}", "pgq", ratio("recording", f"c{clients}", "pgq"), 1, True
    for row in SHAPES:
        for other, mark in (("pgq", 1.1), ("skip", 1.0), ("logical", 0.85)):
            yield f"{row}, written/s", other, ratio(row, "written", other), mark, True
        yield f"{row}, processor an event", "pgq", ratio(row, "processor", "pgq"), 1, False
    next_one = best("e2e 100x4", "received", orderly)
    yield "e2e 100x4, received/s", f"{next_one}, next in order", ratio("e2e 100x4", "received", next_one), 1.2, True
    next_one = best("drain", "events", reliable)
    yield "drain", f"{next_one}, next", ratio("drain", "events", next_one), 1.5, True
    yield "drain", "COPY TO STDOUT", ratio("drain", "events", drain.COPY), 0.75, True


def _amounts(results: Results):
    """What is measured, its amount, and the most it may be."""
    for rate in (20, 1000):
        for part, mark in (("p50", 0.4), ("p99", 3)):
            yield f"latency at {rate}/s, {part}", results.get("latency", "evt", f"{rate} {part}"), mark, "ms"
    yield "idle, processor of the busiest process", results.get("idle", "evt", "busiest"), 0.1, "% of a core"
    yield "idle, statements of the busiest process", results.get("idle", "evt", "most"), 1, "a second"


def report(results: Results, kinds: list) -> str:
    """Only what was measured."""
    others = [kind for kind in kinds if kind.is_reliable and kind.name != "evt"]
    lines = ["| measure | beside | evt | mark | |", "|---|---|---:|---:|---|"]
    for what, other, ratio, mark, more in _ratios(
            results, [kind.name for kind in others if kind.keeps_order], [kind.name for kind in others]):
        if ratio is not None:
            good = ratio >= mark if more else ratio <= mark
            lines.append(f"| {what} | {other} | {number(ratio, 2)} x | {'≥' if more else '≤'} {mark} x | {'' if good else 'missed'} |")
    for what, amount, mark, unit in _amounts(results):
        if amount is not None:
            lines.append(f"| {what} | | {number(amount, 2)} {unit} | ≤ {mark} | {'' if amount <= mark else 'missed'} |")
    return "Targets\n\n" + "\n".join(lines) if len(lines) > 2 else ""
