"""Wide event types in the warehouse (section 8.8)."""

from __future__ import annotations

import pytest

from Harness.pipeline import LOGINS
from Harness.waiting import eventually

PLAIN = True


@pytest.fixture
def warehouse(stream, cluster):
    """A warehouse, and its archiver at work."""
    warehouse = cluster.create_database()
    stream.settings["EVT_ARCHIVE_URL"] = warehouse.conninfo
    stream.evt("migrate", "--roles")
    stream.database.values(LOGINS)
    archiver = stream.start("evt-archiver", EVT_PUSHER_CONNECT=stream.pusher.endpoint)
    yield warehouse
    assert archiver.stop() == 0
    archiver.expected_to_run = False
    warehouse.drop()


def test_the_archiver_names_what_to_do_and_goes_on(stream, source, warehouse):
    def archived(event_id):
        return warehouse.value(f"SELECT COALESCE(max(type), '') FROM evt_history WHERE id = {event_id}")

    narrow = source.add_event("A_B")
    eventually(lambda: archived(narrow) == "A_B", "the narrow event is archived")
    # The stream alone is widened.
    url = stream.settings.pop("EVT_ARCHIVE_URL")
    stream.evt("migrate", "--wide-types")
    stream.settings["EVT_ARCHIVE_URL"] = url
    wide = [source.add_event(event_type, 1) for event_type in ("order.shipped.v2", "order.paid.and.shipped.v2")]
    log = stream.processes[-1].log
    eventually(lambda: f"the archive refuses event {wide[1]}" in log.read_text(), "the archiver says so")
    assert "evt migrate --wide-types" in log.read_text()
    stream.evt("migrate", "--wide-types")
    last = source.add_event("OTHER")
    eventually(lambda: archived(last), "the archiver goes on")
    assert archived(wide[1]) == "order.paid.and.shipped.v2"
    assert warehouse.value("SELECT string_agg(type, ' ' ORDER BY id) FROM evt_history") == (
        "A_B order.shipped.v2 order.paid.and.shipped.v2 OTHER")
    eventually(lambda: " 0 findings" in stream.evt("archive", "verify", check=False), "it is verified")
    printed = stream.evt("history", "--want", "order.*")
    assert "order.paid.and.shipped.v2" in printed and "OTHER" not in printed
