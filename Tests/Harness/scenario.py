"""Scenarios: a pipeline is started, hit, left alone until all is delivered, checked, and reported on."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from Harness.findings import Findings
from Harness.scene import Scene

DRAIN_SECONDS = 300
"""When nothing goes wrong any more, all must be delivered, archived and discarded within this time."""


class Scenario:
    """One run, from the empty databases to the figures."""

    def __init__(self, scene: Scene):
        self.scene, self.findings = scene, scene.findings

    def start(self) -> None:
        """Starts the processes, and all that use them."""

    def hit(self) -> None:
        """Lets happen what is to happen."""

    def calm(self) -> None:
        """Ends what makes events, and whatever is wrong still."""

    def drain(self) -> None:
        """All that was recorded arrives everywhere, and is discarded."""
        self.calm()
        last = self.scene.add_last()
        begin = time.monotonic()
        self.eventually("everything confirmed, archived and discarded", lambda: not self.scene.left(last),
                        lambda: self.scene.left(last))
        self.findings.say(f"all was delivered, archived and discarded {time.monotonic() - begin:.1f} s later")

    def check(self) -> None:
        """Stops the processes, and compares."""

    def report(self) -> None:
        """Prints figures."""

    def eventually(self, what: str, condition, explain=lambda: "") -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        report = time.monotonic() + 5
        while not condition():
            if time.monotonic() > deadline:
                return self.findings.violation("stuck", f"not within {DRAIN_SECONDS} s: {what}; {explain()}")
            if time.monotonic() > report:
                self.findings.say(f"not yet: {what}; {explain()}")
                report += 5
            time.sleep(0.1)


class Command:
    """The command line of a kind of scenarios."""

    def __init__(self, name: str, description: str, seconds: float, kinds: list[str], what: str):
        self._name, self._kinds, self._what = name, kinds, what
        self.parser = argparse.ArgumentParser(prog=f"etc/{name}", description=description)
        add = self.parser.add_argument
        add("--seconds", type=float, default=seconds, help="how long it takes (%(default)g)")
        add("--seed", type=int, help="of what happens and of the load; drawn if not given")
        add("--only", default="", help=f"these {what} only, separated by commas: {', '.join(kinds)}")
        add("--show", action="store_true", help="print what would happen, and end")
        add("--keep", action="store_true", help="keep databases and logs also when all is well")
        add("--programs", type=Path, help=argparse.SUPPRESS)
        add("--postgres", type=Path, help=argparse.SUPPRESS)

    def parse(self) -> argparse.Namespace:
        arguments = self.parser.parse_args()
        if arguments.seed is None:
            arguments.seed = random.SystemRandom().randrange(1_000_000)
        arguments.kinds = [kind for kind in arguments.only.split(",") if kind]
        if unknown := set(arguments.kinds) - set(self._kinds):
            self.parser.error(f"no such {self._what}: {', '.join(sorted(unknown))}")
        return arguments

    def run(self, arguments: argparse.Namespace, more: str, scene: Callable[[Path, Findings], Scene],
            scenario: Callable[[Scene], Scenario]) -> int:
        """Makes the scene and runs the scenario; `more` are the options of its own that repeat it."""
        sys.setswitchinterval(0.001)
        again = f"etc/{self._name} --seconds {arguments.seconds:g} --seed {arguments.seed}" + (
            f" --only {arguments.only}" if arguments.only else "") + more
        directory = Path(tempfile.mkdtemp(prefix=f"evt-{self._name}-", dir="/var/tmp"))
        directory.chmod(0o755)
        findings = Findings()
        findings.say(f"{again}; logs are in {directory}")
        made = scene(directory, findings)
        try:
            made.create()
            findings.say("databases created")
            run = scenario(made)
            for step in (run.start, run.hit, run.drain, run.check, run.report):
                step()
        finally:
            made.close()
        print(f"\nseed {arguments.seed}: {findings.count} violations {findings.kinds or ''}")
        if findings.count == 0 and not arguments.keep:
            shutil.rmtree(directory)
        else:
            print(f"logs are in {directory}; again: {again}")
        return 0 if findings.count == 0 else 1
