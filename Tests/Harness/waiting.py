"""Waiting for what must happen, and watching that something does not."""

from __future__ import annotations

import time

PATIENCE = 90.0
"""Seconds to wait for something that must happen; far more than it should ever take."""

QUIET = 0.7
"""Seconds to watch when nothing must happen."""


def eventually(condition, what: str, timeout: float = PATIENCE, every: float = 0.05):
    """Waits until the condition holds, and returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
        time.sleep(every)
    return value


def throughout(condition, what: str, seconds: float = QUIET) -> None:
    """Watches for a while that the condition holds all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay so: {what}"
        time.sleep(0.05)


def until_answered(attempt, errors: type[Exception] | tuple, seconds: float = 60, every: float = 0.1):
    """Repeats an attempt while it fails in this way, and returns its result."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(every)
