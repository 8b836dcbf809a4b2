"""Lets attacks happen, and watches what they do to the processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from Harness.worker import Worker
from phases import Phase
from world import World

START_SECONDS = 1.5
"""An attacker is loaded by then."""


class Attackers:
    """The processes of one phase."""

    def __init__(self, world: World, phase: Phase, seed: int):
        self._world, self._phase = world, phase
        # One kind alone has both processors.
        each = 2 if len(phase.attacks) == 1 else 1
        self._processes = [
            (kind, subprocess.Popen(
                [sys.executable, Path(__file__).with_name("attacker.py"), json.dumps({
                    "kind": kind, "who": who, "seed": f"{seed}/{phase.begin}/{kind}/{number}", "ports": asdict(world.ports),
                    "at": phase.begin, "until": phase.end, "directory": str(world.directory)})],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))
            for kind, who in phase.attacks for number in range(each)]

    def finish(self) -> Counter[str]:
        """Waits for their end; returns what they did and got."""
        counts: Counter[str] = Counter()
        for kind, process in self._processes:
            try:
                output, _ = process.communicate(timeout=max(0, self._phase.end - time.time()) + 10)
            except subprocess.TimeoutExpired:
                self._world.findings.say(f"{kind}: an attacker did not end, and was killed")
                process.kill()
                process.communicate()
                continue
            try:
                told = json.loads(output)
            except ValueError:
                self._world.findings.violation("harness", f"{kind}: an attacker ended with status {process.returncode}")
                continue
            counts.update(told["counts"])
            for found in told["found"]:
                self._world.findings.violation("leak" if "got" in found or "read" in found else "attack", f"{kind}: {found}")
        return counts


class Watch(Worker):
    """Measures the memory and the descriptors of the processes."""

    INTERVAL = 0.5
    """Seconds."""

    GROWTH = 1.25
    """More than this, and more than 20 MB, in the second half of the run is growth."""

    def __init__(self, world: World):
        super().__init__("watch", world.findings)
        self._world = world
        self.memory: dict[str, list[tuple[float, float]]] = {name: [] for name in world.supervisor.children}
        """Megabytes, resident."""
        self.descriptors: Counter[str] = Counter()
        """The most there were."""
        self.starved = 0.0
        """Seconds, at most, that this thread, which has next to nothing to do, waited for its turn."""

    def work(self) -> None:
        due = time.monotonic() + self.INTERVAL
        if self.pause(self.INTERVAL):
            return
        self.starved = max(self.starved, time.monotonic() - due)
        for name, child in self._world.supervisor.children.items():
            with suppress(OSError):
                self.memory[name].append((time.time(), child.memory()))
                self.descriptors[name] = max(self.descriptors[name], child.descriptors())

    def check_growth(self, phases: list[Phase]) -> None:
        """Compares what each process has in the quiet phases of the middle and of the end."""
        quiet = [phase for phase in phases if not phase.attacks]
        if len(quiet) < 9:
            return
        third = len(quiet) // 3
        for name in self.memory:
            middle, end = (max(self._least(name, phase) for phase in part) for part in (quiet[third:-third], quiet[-third:]))
            if end > middle * self.GROWTH and end > middle + 20:
                self._world.findings.violation("growth", f"{name}: {middle:.0f} MB in the middle, {end:.0f} MB in the end")

    def _least(self, name: str, phase: Phase) -> float:
        return min((megabytes for at, megabytes in self.memory[name] if phase.begin <= at < phase.end), default=0)

    def most(self, name: str, phase: Phase) -> float:
        return max((megabytes for at, megabytes in self.memory[name] if phase.begin <= at < phase.end), default=0)
