"""The comparison: each round measures all rivals in turn, and the medians are printed.

Run it with etc/bench rivals, which builds the programs and sets the environment up.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from Rivals import targets
from Rivals.evt import Evt
from Rivals.logical import Logical
from Rivals.measures import drain, e2e, growth, idle, latency, recording
from Rivals.measures.measure import Run
from Rivals.nats import Nats
from Rivals.notify import Notify, NotifyBox
from Rivals.outbox import Outbox, Skip
from Rivals.pgq import Pgq
from Rivals.pgqueuer import PgQueuer
from Rivals.redis import Redis
from Rivals.report import Results
from Rivals.rival import ROWS, STATE, NoEvent, NoEventLogical
from Rivals.world import World, machine

BASELINES = (NoEvent, NoEventLogical)
KINDS = (Evt, Pgq, Outbox, Skip, NotifyBox, Notify, Logical, PgQueuer, Redis, Nats)
MEASURES = {"recording": recording, "e2e": e2e, "latency": latency, "drain": drain, "idle": idle}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="etc/bench rivals", description="Compares EventStream with what one could use instead.")
    names = [kind.name for kind in KINDS]
    add = parser.add_argument
    add("--install", action="store_true", help="first install the rivals that are missing, from Debian and PyPI")
    add("--only", default=",".join(names), help="these rivals only, separated by commas: %(default)s")
    add("--rows", default=",".join(ROWS),
        help=f"what is measured: %(default)s; growth, which is {','.join(growth.NAMES)}; or all")
    add("--rounds", type=int, default=3, help="how often (%(default)d)")
    add("--seconds", type=float, default=4, help="how long each measurement lasts, about (%(default)g)")
    add("--programs", type=Path, help=argparse.SUPPRESS)
    add("--postgres", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.only, given.rows = given.only.split(","), given.rows.split(",")
    given.rows = [row for each in given.rows for row in {"all": (*ROWS, *growth.NAMES), "growth": growth.NAMES}.get(each, (each,))]
    for unknown in {*given.only} - {*names} | {*given.rows} - {*ROWS, *growth.NAMES}:
        parser.error(f"no such rival or row: {unknown}")
    return given


def chosen(names: list[str]) -> list:
    """Those that are installed, and what they are compared with."""
    kinds = []
    for kind in KINDS:
        if kind.name in names and (missing := kind.missing()):
            print(f"{kind.name} is left out: {missing} missing; etc/bench rivals --install installs that", flush=True)
        elif kind.name in names:
            kinds.append(kind)
    needed = {need for kind in kinds for need in kind.needs}
    return [kind for kind in (*BASELINES, *KINDS) if kind in kinds or kind.name in needed]


def measure(run: Run, kinds: list, rows: list[str], rounds: int) -> None:
    for number in range(1, rounds + 1):
        for row in [row for row in ROWS if row in rows]:
            for kind in [kind for kind in kinds if row in kind.rows]:
                attempt(run, f"round {number} of {rounds}: {row}, {kind.name}", lambda: MEASURES[row].measure(run, kind))


def attempt(run: Run, what: str, work) -> None:
    """What goes wrong with one of them does not end the comparison."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
    try:
        work()
    except Exception as error:
        traceback.print_exc()
        run.results.error(f"{what}: {error}")


def report(results: Results, kinds: list, head: str) -> str:
    parts = [head, *(MEASURES[row].report(results) for row in ROWS), growth.report(results), targets.report(results, kinds)]
    parts.append("| rival | what it promises | how it was set up |\n|---|---|---|\n" + "\n".join(
        f"| {kind.name} | {kind.guarantees} | {kind.what} |" for kind in kinds))
    parts += [f"ERROR {error}" for error in results.errors]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    given = arguments()
    kinds = chosen(given.only)
    directory = Path(tempfile.mkdtemp(prefix="evt-rivals-", dir="/var/tmp"))
    directory.chmod(0o755)
    world = World(directory, given.postgres, given.programs)
    run = Run(world, Results(), given.seconds)
    try:
        measure(run, kinds, given.rows, given.rounds)
        head = f"{machine(world.version)}; medians of {given.rounds} rounds of {given.seconds:g} s"
        growth.measure(run, kinds, given.rows, lambda what, work: attempt(run, what, work))
        text = report(run.results, kinds, head)
    finally:
        world.close()
    print(text)
    (STATE / "rivals.md").write_text(text)
    if run.results.errors:
        print(f"{len(run.results.errors)} errors; logs are in {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
