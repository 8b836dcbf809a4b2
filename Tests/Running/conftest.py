"""How the processes are run: the files of etc/systemd, etc/supervisor and etc/logrotate, put to use."""

from __future__ import annotations

from pathlib import Path

import pytest

from Harness.pipeline import Pipeline
from Harness.sockets import free_endpoint
from Harness.waiting import eventually

pytest.register_assert_rewrite("confined", "files", "supervised")


@pytest.fixture(scope="module")
def databases(cluster):
    """The active database and the warehouse."""
    databases = cluster.create_database(), cluster.create_database()
    yield databases
    for database in databases:
        database.drop()


@pytest.fixture(scope="module")
def pipeline(databases, binaries, tmp_path_factory) -> Pipeline:
    """The settings of all processes, with the tables there."""
    active, warehouse = databases
    addresses = {name: free_endpoint() for name in ("GENERATOR", "PUSHER", "LIVE")}
    pipeline = Pipeline(binaries, tmp_path_factory.mktemp("logs"), {
        "EVT_DATABASE_URL": active.conninfo, "EVT_ARCHIVE_URL": warehouse.conninfo,
        **{f"EVT_{name}_{end}": address for name, address in addresses.items() for end in ("BIND", "CONNECT")},
        "EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_POLL_PERIOD": "100ms"})
    pipeline.evt("migrate")
    return pipeline


@pytest.fixture(scope="module")
def settings_file(pipeline) -> Path:
    """The settings as a file of the environment."""
    file = pipeline.directory / "evt.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in pipeline.settings.items()))
    return file


@pytest.fixture
def an_event_passes(pipeline, databases):
    """Records an event with the generator and waits until it is in the archive, and there only: all four work."""
    def passes() -> None:
        active, warehouse = databases
        # One that has just been started has no database yet.
        event = int(eventually(lambda: (said := pipeline.evt("add", "PASSES", "{}", check=False)).strip().isdigit() and said,
                               "an event is recorded"))
        eventually(lambda: warehouse.value(f"SELECT count(*) FROM evt_history WHERE id = {event}") == "1", "it is archived")
        eventually(lambda: active.value(f"SELECT count(*) FROM evt_queue WHERE id = {event}") == "0", "it is discarded")
    return passes
