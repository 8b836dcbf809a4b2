"""What happens when, and what it did to those who do nothing wrong."""

from __future__ import annotations

import bisect
import random
import statistics
from dataclasses import dataclass, field

from Harness.findings import table
from peers import Samples

SETTLE = 2.0
"""Seconds at the beginning of a quiet phase that count neither for the attack before nor for the quiet."""


@dataclass
class Phase:
    """A stretch of the run; without attacks it is a quiet one."""

    name: str
    seconds: float
    attacks: list[tuple[str, str]] = field(default_factory=list)
    """Kinds, and who carries them out."""
    begin: float = 0
    end: float = 0


def draw(seed: int, seconds: float, attacks: list[tuple[str, str]], length: float, *, together: bool) -> list[Phase]:
    """Attacks in an order of chance, each after a quiet phase; all together in the end, if there is time, or at once."""
    everything = Phase("everything", length, attacks)
    if together:
        quiet = max(3.0, seconds / 4)
        everything.seconds = max(3.0, seconds - 2 * quiet)
        return [Phase("quiet", quiet), everything, Phase("quiet", quiet)]
    phases = []
    turns = max(1, int((seconds - length) // (2 * length)))
    order: list[Phase] = []
    chance = random.Random(f"{seed}/phases")
    while len(order) < turns:
        lap = [Phase(f"{kind} ({who})" if who else kind, length, [(kind, who)]) for kind, who in attacks]
        chance.shuffle(lap)
        order += [*lap, Phase("everything", length, attacks)] if len(attacks) > 1 else lap
    for attack in order[:turns]:
        phases += [Phase("quiet", length), attack]
    return [*phases, Phase("quiet", length)]


class Measured:
    """Samples of one kind, in order of time."""

    def __init__(self, name: str, samples: Samples):
        self.name = name
        self._samples = sorted(samples)
        self._times = [at for at, _ in self._samples]

    def within(self, begin: float, end: float) -> list[float]:
        """In milliseconds."""
        return [took * 1000 for _, took in
                self._samples[bisect.bisect_left(self._times, begin):bisect.bisect_left(self._times, end)]]

    def of(self, phases: list[Phase]) -> list[float]:
        return [took for phase in phases for took in
                self.within(phase.begin + (0 if phase.attacks else min(SETTLE, phase.seconds / 2)), phase.end)]


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def report(phases: list[Phase], measures: list[Measured], details: dict[str, str]) -> str:
    """Per kind of attack: p50 and p99 in milliseconds of each measure, and how p99 compares with the quiet phases beside it."""
    rows = [["attack", *(f"{measure.name} p50/p99 (ratio)" for measure in measures), "log, answers"]]
    quiet = [phase for phase in phases if not phase.attacks]

    def cells(of: list[Phase], beside: list[Phase] | None) -> list[str]:
        shown = []
        for measure in measures:
            values = measure.of(of)
            text = f"{quantile(values, 0.5):.1f}/{quantile(values, 0.99):.1f}"
            if beside:
                text += f" ({quantile(values, 0.99) / quantile(measure.of(beside), 0.99):.1f})"
            shown.append(text)
        return shown

    rows.append(["(quiet)", *cells(quiet, None), ""])
    for name in sorted({phase.name for phase in phases if phase.attacks}):
        attacks = [phase for phase in phases if phase.name == name]
        beside = [near for index, near in enumerate(phases) if not near.attacks
                  and any(other in attacks for other in phases[max(0, index - 1):index + 2])]
        rows.append([name, *cells(attacks, beside), details.get(name, "")])
    lines = [table(rows)]
    for measure in measures:
        p99 = [[quantile(measure.of([phase]), 0.99) for phase in phases if bool(phase.attacks) == attacked]
               for attacked in (False, True)]
        calm, hit = (statistics.median(values) for values in p99)
        lines.append(f"{measure.name}: median of the phases' p99: quiet {calm:.1f} ms, attacked {hit:.1f} ms: "
                     f"{hit / calm:.1f} times")
    return "\n".join(lines)
