"""The units of etc/systemd, as systemd-analyze sees them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from files import PROGRAMS, UNITS, adapted

LATER = {"RestartSteps", "RestartMaxDelaySec"}
"""Keys that systemd before version 254 ignores, and says so."""
TASKS = [unit.stem for unit in UNITS.glob("*.timer")]
"""What a timer starts."""
RELAY = "evt-relay@"
"""A template, which runs where somebody wants it."""


@pytest.fixture(scope="module")
def units(binaries, tmp_path_factory) -> Path:
    """The units, with the built programs."""
    directory = tmp_path_factory.mktemp("units")
    for unit in UNITS.iterdir():
        text = unit.read_text()
        if unit.suffix == ".service":
            text = adapted(text, {"/usr/local/bin": binaries})
        (directory / unit.name).write_text(text)
    return directory


def analyze(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["systemd-analyze", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, encoding="utf-8", timeout=60)


def complaints(units: Path, unit: str) -> list[str]:
    """What systemd does not like of our units; those of this machine that they name are not our business."""
    done = analyze("verify", "--man=no", units / unit)
    lines = [line for line in done.stdout.splitlines() if re.search(r"evt-|eventstream", line)]
    unknown = [re.search(r"Unknown (?:key(?: name)?|lvalue) '(\w+)'", line) for line in lines]
    left = [line for line, key in zip(lines, unknown) if not (key and key[1] in LATER)]
    return left + ([] if done.returncode == 0 else [f"status {done.returncode}", done.stdout])


@pytest.mark.parametrize("unit", sorted(unit.name for unit in UNITS.iterdir()))
def test_a_unit_is_valid(units, unit):
    assert complaints(units, unit) == []


def test_a_unit_that_is_not_valid_would_be_found(units, tmp_path):
    unit = (units / "evt-pusher.service").read_text()
    for old, new in [("ExecStart=", "ExecStart=/nowhere"), ("Restart=always", "Restart=sometimes"), ("LimitNOFILE", "LimitFiles"),
                     ("@system-service", "@systemservice")]:
        (tmp_path / "evt-pusher.service").write_text(adapted(unit, {old: new}))
        assert complaints(tmp_path, "evt-pusher.service") != [], new


@pytest.mark.parametrize("program", [*PROGRAMS, RELAY, *TASKS])
def test_a_process_can_do_little_else(units, program):
    """An exposure of at most 2.5, of 10."""
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=25", units / f"{program}.service")
    assert done.returncode == 0, done.stdout


def test_the_target_wants_what_the_procfile_runs():
    wanted = re.search(r"^Wants=(.*)$", (UNITS / "eventstream.target").read_text(), re.MULTILINE)[1]
    assert wanted.split() == [f"{program}.service" for program in PROGRAMS]
    assert {unit.stem for unit in UNITS.glob("*.service")} == {*PROGRAMS, RELAY, *TASKS}


def test_the_units_differ_in_their_program_only():
    common = {re.sub(r"^(Description|ExecStart)=.*$", "", (UNITS / f"{program}.service").read_text(), flags=re.MULTILINE)
              for program in (*PROGRAMS, RELAY)}
    assert len(common) == 1
    for program in (*PROGRAMS, RELAY):
        assert f"\nExecStart=/usr/local/bin/{program.strip('@')}\n" in (UNITS / f"{program}.service").read_text()
