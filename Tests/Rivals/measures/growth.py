"""How it changes with the backlog, the consumers, the writers and the size of events: tables, and drawings beside the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from Rivals.measures import drain, e2e
from Rivals.measures.measure import Run
from Rivals.report import Results, number

KINDS = ("evt", "pgq", "skip")
DRAWINGS = Path(__file__).resolve().parents[3] / "etc/docs/performance"
_ENVELOPE = 90
"""Bytes of an event without its filler."""


@dataclass
class Growth:
    name: str
    x: str
    points: tuple[int, ...]
    y: str
    figure: str
    measure: Callable[[Run, object, str, int], None]
    kinds: tuple[str, ...] = KINDS
    scale: Callable[[int], float] = lambda point: 1
    """What a figure is multiplied with."""


def _consumers(run: Run, kind, row: str, count: int) -> None:
    names = tuple(f"R{number}" for number in range(count))
    e2e.once(run, type(kind.__name__, (kind,), {"components": names}), row, 1, 16)


def _size(run: Run, kind, row: str, size: int) -> None:
    e2e.once(run, kind, row, 1, 4, filler=f"(SELECT substr(text, 1, {size - _ENVELOPE}) FROM filler)")


GROWTHS = (
    Growth("backlog", "events that wait", (1_000, 10_000, 100_000, 1_000_000, 10_000_000), "events/s to one consumer", "events",
           drain.once),
    Growth("consumers", "consumers that each get all events", (1, 5, 20, 50, 100, 200), "events/s to each, 16 writers", "received",
           _consumers, kinds=("evt", "pgq")),
    Growth("writers", "writers, one event a transaction", (1, 4, 16, 64), "events/s to one consumer", "received",
           lambda run, kind, row, count: e2e.once(run, kind, row, 1, count)),
    Growth("size", "bytes of an event", (100, 1_000, 10_000, 100_000, 1_000_000), "MB/s to one consumer, 4 writers", "received",
           _size, scale=lambda size: size / 1e6),
)
NAMES = tuple(growth.name for growth in GROWTHS)


def measure(run: Run, kinds: list, names: list[str], attempt) -> None:
    """`attempt(what, work)` reports what fails."""
    for growth in [growth for growth in GROWTHS if growth.name in names]:
        for kind in [kind for kind in kinds if kind.name in growth.kinds]:
            for point in growth.points:
                row = f"{growth.name} {point}"
                attempt(f"{row}, {kind.name}", lambda: growth.measure(run, kind, row, point))
        draw(run.results, growth)


def _figures(results: Results, growth: Growth, rival: str) -> list[float | None]:
    values = [results.get(f"{growth.name} {point}", rival, growth.figure) for point in growth.points]
    return [None if value is None else value * growth.scale(point) for value, point in zip(values, growth.points)]


def report(results: Results) -> str:
    parts = []
    for growth in GROWTHS:
        lines = [f"| {growth.x} | {' | '.join(f'{point:,}' for point in growth.points)} |", "|---|" + "---:|" * len(growth.points)]
        for rival in growth.kinds:
            if any(values := _figures(results, growth, rival)):
                lines.append(f"| {rival}, {growth.y} | {' | '.join(number(value, 0 if (value or 0) >= 100 else 2) for value in values)} |")
        parts.append(f"Growth of {growth.name}, measured once\n\n" + "\n".join(lines) if len(lines) > 2 else "")
    return "\n\n".join(filter(None, parts))


def draw(results: Results, growth: Growth) -> None:
    """An SVG beside the page."""
    if not find_spec("matplotlib"):
        return print("nothing is drawn: matplotlib is missing; etc/bench rivals --install installs it", flush=True)
    import matplotlib
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "rivals", "svg.fonttype": "none", "font.size": 11})
    DRAWINGS.mkdir(exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for rival in growth.kinds:
        pairs = [(point, value) for point, value in zip(growth.points, _figures(results, growth, rival)) if value is not None]
        if pairs:
            axes.plot(*zip(*pairs), marker="o", label=rival)
    axes.set(xscale="log", xlabel=growth.x, ylabel=growth.y, ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(DRAWINGS / f"{growth.name}.svg", metadata={"Date": None})
    pyplot.close(figure)
