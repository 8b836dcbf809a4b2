"""The programs work with what their units leave them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import confined
from files import PROGRAMS, UNITS
from Harness.pipeline import environment


@pytest.fixture
def processes(binaries, settings, tmp_path):
    """The four programs, each confined as its unit says."""
    processes = {}
    for program in PROGRAMS:
        with (tmp_path / program).open("wb") as output:
            processes[program] = subprocess.Popen(
                [sys.executable, confined.__file__, UNITS / f"{program}.service", binaries / program],
                env=environment(settings), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    yield processes
    for program, process in processes.items():
        if process.poll() is None:
            process.kill()
        process.wait()
        print(program, process.returncode, (tmp_path / program).read_text(errors="replace")[-1000:])


def test_an_event_passes_and_all_stop_cleanly(processes, an_event_passes):
    an_event_passes()
    for program, process in processes.items():
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert status["Seccomp"] == "2", f"{program} is not confined"
        process.send_signal(signal.SIGTERM)
    assert {program: process.wait(20) for program, process in processes.items()} == dict.fromkeys(PROGRAMS, 0)
