"""What all measures have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass

from Rivals.report import Results
from Rivals.rival import Rival
from Rivals.world import World

PATIENCE = 2
"""Times the length of a measurement: so long what was committed may take to arrive."""


@dataclass
class Run:
    """What a measure is given."""

    world: World
    results: Results
    seconds: float


def arrival(rival: Rival, count: int, seconds: float) -> int:
    """Waits so long at most until as many events have come as were committed; returns how many came, which may be too many."""
    deadline = time.monotonic() + seconds
    while rival.seen.count < count and time.monotonic() < deadline:
        rival.check()
        time.sleep(0.001)
    if rival.seen.count >= count:
        time.sleep(0.2)
    rival.check()
    return rival.seen.count
