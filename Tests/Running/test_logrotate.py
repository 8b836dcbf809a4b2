"""logrotate rotates the log of a process that runs, with etc/logrotate/eventstream."""

from __future__ import annotations

import shutil

import pytest

from Harness.processes import Process, run
from Harness.waiting import eventually
from files import LOGROTATE, adapted, group, user


@pytest.fixture
def log(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path / "eventstream.log"


@pytest.fixture
def rotate(log, tmp_path):
    """Rotates now, whatever size and age."""
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(adapted(LOGROTATE.read_text(), {
        "/var/log/eventstream/eventstream.log {": f"{log} {{", "su eventstream eventstream": f"su {user()} {group()}"}))
    configuration.chmod(0o644)
    program = shutil.which("logrotate") or "/usr/sbin/logrotate"

    def rotate() -> None:
        assert run(program, "--force", "--state", tmp_path / "state", configuration) == ""
    return rotate


@pytest.fixture
def generator(pipeline, log):
    """A generator whose log is redirected as etc/docs/operating.md says: >>log 2>&1."""
    process = Process([pipeline.programs / "evt-generator"], pipeline.settings, log).start()
    yield process
    process.kill()


def test_what_a_process_says_after_a_rotation_is_in_the_new_log(generator, log, rotate):
    for words in ("connected to the database", "listening"):
        eventually(lambda: words in log.read_text(), words)
    before = log.read_bytes()
    rotate()
    assert log.with_name("eventstream.log.1").read_bytes() == before
    assert log.read_bytes() == b""
    assert generator.stop() == 0
    after = log.read_bytes()
    # A stop that takes too long is given up, on a busy machine as well.
    assert after.endswith((b"stopped\n", b"the stop took too long; ending now\n")) and b"\0" not in after


def test_older_logs_are_kept_compressed(log, rotate):
    for text in ("first\n", "second\n", "third\n"):
        log.write_text(text)
        rotate()
    assert log.with_name("eventstream.log.1").read_text() == "third\n"
    for name in ("eventstream.log.2.gz", "eventstream.log.3.gz"):
        assert log.with_name(name).exists()


def test_a_log_that_is_not_there_or_has_nothing_in_it_is_no_error(log, rotate):
    rotate()
    log.touch()
    rotate()
    assert not log.with_name("eventstream.log.1").exists()
