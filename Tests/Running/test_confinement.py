"""The programs work with what their units leave them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

import confined
from files import PROGRAMS, UNITS
from Harness.processes import Process


@pytest.fixture
def processes(pipeline):
    """The four programs, each confined as its unit says."""
    processes = {
        program: Process([sys.executable, confined.__file__, UNITS / f"{program}.service", pipeline.programs / program],
                         pipeline.settings, pipeline.directory / f"{program}.log", program).start() for program in PROGRAMS}
    yield processes
    for process in processes.values():
        process.kill()
        print(process.log_tail())


def test_an_event_passes_and_all_stop_cleanly(processes, an_event_passes):
    an_event_passes()
    for program, process in processes.items():
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert status["Seccomp"] == "2", f"{program} is not confined"
        process.signal(signal.SIGTERM)
    assert {program: process.wait() for program, process in processes.items()} == dict.fromkeys(PROGRAMS, 0)
