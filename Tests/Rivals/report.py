"""Tables in Markdown, of the medians of all rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


class Results:
    """Figures of all rounds, and what was wrong."""

    def __init__(self):
        self._figures: dict[tuple[str, str, str], list[float]] = {}
        self.errors: list[str] = []

    def add(self, row: str, rival: str, **figures: float) -> None:
        for name, value in figures.items():
            self._figures.setdefault((row, rival, name), []).append(value)

    def get(self, row: str, rival: str, name: str) -> float | None:
        """The median."""
        values = self._figures.get((row, rival, name))
        return median(values) if values else None

    def ratio(self, row: str, rival: str, other: str, name: str) -> float | None:
        value, whole = self.get(row, rival, name), self.get(row, other, name)
        return value / whole if value is not None and whole else None

    def rivals(self, *rows: str) -> list[str]:
        return list(dict.fromkeys(rival for each, rival, _ in self._figures if each in rows))

    def error(self, text: str) -> None:
        print(f"ERROR {text}", flush=True)
        self.errors.append(text)


@dataclass
class Column:
    name: str
    figure: str
    digits: int = 0
    row: str = ""
    """Where the figure is, if not in that of the table."""
    beside: Callable[[str], str] | None = None
    """With which rival it is compared: the ratio is shown."""

    def text(self, results: Results, row: str, rival: str) -> str:
        row = self.row or row
        value = results.ratio(row, rival, self.beside(rival), self.figure) if self.beside else results.get(row, rival, self.figure)
        return number(value, self.digits)


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def table(results: Results, row: str, title: str, columns: list[Column]) -> str:
    """A line for each rival; a column without any figure is left out. Nothing where nothing was measured."""
    rivals = results.rivals(row, *(column.row for column in columns if column.row))
    cells = [[column.name, *(column.text(results, row, rival) for rival in rivals)] for column in columns]
    cells = [["", *rivals], *(column for column in cells if any(column[1:]))]
    if len(cells) == 1:
        return ""
    lines = ["| " + " | ".join(line) + " |" for line in zip(*cells)]
    return "\n".join([title, "", lines[0], "|---|" + "---:|" * (len(cells) - 1), *lines[1:]])
