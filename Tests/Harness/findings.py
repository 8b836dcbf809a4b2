"""What was found wrong, and a log of what happened: one place for all threads."""

from __future__ import annotations

import threading
import time


class Findings:
    """Violations, in the order they were found. Each is printed at once."""

    LIMIT = 20
    """Of one kind so many are printed; the others are counted."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._start = time.time()

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    @property
    def kinds(self) -> dict[str, int]:
        return dict(self._counts)

    def begin(self) -> None:
        """From here on times are counted."""
        self._start = time.time()

    def violation(self, kind: str, text: str) -> None:
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if self._counts[kind] <= self.LIMIT:
                self._print(f"VIOLATION {kind}: {text}")

    def say(self, text: str) -> None:
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        print(f"{time.time() - self._start:7.2f} {text}", flush=True)


def table(rows: list[list[str]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
