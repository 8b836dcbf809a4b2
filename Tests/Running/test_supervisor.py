"""supervisord runs the built programs with etc/supervisor/eventstream.conf."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from Harness.waiting import eventually
from files import PROGRAMS
from supervised import Supervised


@pytest.fixture(scope="module")
def supervised(binaries, settings_file, tmp_path_factory):
    """The four programs, run by supervisord."""
    # A name short enough for a socket.
    with tempfile.TemporaryDirectory(prefix="evt") as short:
        supervised = Supervised(binaries, settings_file, tmp_path_factory.mktemp("supervisor"), Path(short) / "socket")
        try:
            supervised.wait_until_all_run()
            yield supervised
        except BaseException:
            print(supervised.tails())
            raise
        finally:
            supervised.close()


def test_what_the_procfile_runs_is_run(supervised, an_event_passes):
    assert set(supervised.programs()) == set(PROGRAMS)
    an_event_passes()


def test_what_they_say_is_in_a_file_of_each(supervised):
    for program in PROGRAMS:
        eventually(lambda: f" {program}: " in supervised.said(program), f"{program} has said something")


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_that_is_killed_is_started_again_and_no_other(supervised, program, an_event_passes):
    before = supervised.pids()
    os.kill(before[program], signal.SIGKILL)
    eventually(lambda: supervised.pids()[program] not in (0, before[program]), f"{program} runs again")
    an_event_passes()
    after = supervised.pids()
    assert {name for name in PROGRAMS if after[name] != before[name]} == {program}


def test_all_stop_cleanly_and_start_again(supervised, an_event_passes):
    supervised.wait_until_all_run()
    supervised.stop_all()
    assert supervised.all_are("STOPPED")
    assert {name: info["exitstatus"] for name, info in supervised.programs().items()} == dict.fromkeys(PROGRAMS, 0)
    supervised.start_all()
    an_event_passes()


def test_all_stop_when_supervisord_does(supervised):
    supervised.wait_until_all_run()
    pids = supervised.pids()
    assert supervised.close() == 0
    for program, pid in pids.items():
        assert not Path(f"/proc/{pid}").exists(), f"{program} still runs"
        # A stop that takes too long is given up, on a busy machine as well.
        assert supervised.said(program).splitlines()[-1].endswith(("stopped", "the stop took too long; ending now"))
