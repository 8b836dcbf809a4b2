"""How the processes are run: the files of etc/systemd, etc/supervisor and etc/logrotate, put to use.

Run these tests with etc/test, as those of Tests/Conformance, whose database and programs they share.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("Harness", "confined", "files", "supervised")

from Harness.database import Cluster
from Harness.expect import eventually
from Harness.pipeline import environment, free_endpoint


def _given(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        pytest.exit(f"{variable} is not set: run these tests with etc/test", returncode=2)
    return value


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The directory of the built programs."""
    return Path(_given("EVT_TEST_BIN"))


@pytest.fixture(scope="module")
def databases():
    """The active database and the warehouse."""
    cluster = Cluster(_given("EVT_TEST_POSTGRES"))
    databases = cluster.create_database(), cluster.create_database()
    yield databases
    for database in databases:
        database.drop()
    cluster.close()


@pytest.fixture(scope="module")
def settings(databases, binaries) -> dict[str, str]:
    """Settings of all processes, with the tables there."""
    active, warehouse = databases
    generator, pusher, live = free_endpoint(), free_endpoint(), free_endpoint()
    settings = {
        "EVT_DATABASE_URL": active.conninfo, "EVT_ARCHIVE_URL": warehouse.conninfo,
        "EVT_GENERATOR_BIND": generator, "EVT_GENERATOR_CONNECT": generator,
        "EVT_PUSHER_BIND": pusher, "EVT_PUSHER_CONNECT": pusher,
        "EVT_LIVE_BIND": live, "EVT_LIVE_CONNECT": live,
        "EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_POLL_PERIOD": "100ms",
        # A port in the settings of all would be that of one process.
        "EVT_METRICS_BIND": "",
    }
    subprocess.run([binaries / "evt", "migrate"], env=environment(settings), check=True, timeout=60)
    return settings


@pytest.fixture(scope="module")
def settings_file(settings, tmp_path_factory) -> Path:
    """The settings as a file of the environment."""
    file = tmp_path_factory.mktemp("settings") / "evt.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return file


@pytest.fixture
def an_event_passes(binaries, settings, databases):
    """Records an event with the generator and waits until it is in the archive, and there only: all four work."""
    def passes() -> None:
        active, warehouse = databases
        def add() -> str:
            # One that has just been started has no database yet.
            done = subprocess.run([binaries / "evt", "add", "PASSES", "{}"], env=environment(settings), timeout=60,
                                  stdout=subprocess.PIPE, encoding="utf-8")
            return done.stdout if done.returncode == 0 else ""
        event = int(eventually(add, "an event is recorded"))
        eventually(lambda: warehouse.value(f"SELECT count(*) FROM evt_history WHERE id = {event}") == "1", "it is archived")
        eventually(lambda: active.value(f"SELECT count(*) FROM evt_queue WHERE id = {event}") == "0", "it is discarded")
    return passes
