"""An event that fails as often as its consumer allows is set aside, and comes again when an operator says so."""

from __future__ import annotations

from eventstream import add
from Harness.waiting import eventually

# A pusher looks for what is to be delivered again five times in a session's timeout.
SETTINGS = {"EVT_MAX_ATTEMPTS": "2", "EVT_SESSION_TIMEOUT": "2s"}


def test_a_poison_event_is_parked_with_those_behind_it_and_comes_again(stream, database, event_type, start, name, confirmed):
    ids = [add(database, event_type, n, key="bad" if n in (3, 5) else None) for n in range(8)]
    seen, is_mended = [], False

    def handler(event):
        seen.append((event.id, event.parked))
        if event.data == 3 and not is_mended:
            raise ValueError("poison")

    start(handler, want=event_type)
    confirmed(ids[-1])
    assert [each for each, _ in seen] == [*ids[:3], ids[3], ids[3], ids[4], *ids[6:]]
    assert "poison" in stream.evt("parked", "list", name)

    # Not mended yet: it stays parked, and its receiver goes on.
    stream.evt("parked", "retry", name, "--all")
    eventually(lambda: seen[-1] == (ids[3], True), "the parked event")
    last = add(database, event_type, 8)
    confirmed(last)
    is_mended = True
    stream.evt("parked", "retry", name, "--all")
    eventually(lambda: seen[-1] == (ids[5], True), "the event behind it")
    assert seen[-2:] == [(ids[3], True), (ids[5], True)]
    eventually(lambda: database.execute("SELECT count(*) FROM evt_parked").fetchone()[0] == 0, "nothing is parked")


def test_a_handler_of_batches_gets_only_the_event_at_fault_parked(stream, database, event_type, start, name, confirmed):
    ids = [add(database, event_type, n) for n in range(30)]
    processed = []

    def handler(batch):
        if any(event.data == 17 for event in batch):
            raise ValueError("poison")
        processed.extend(event.id for event in batch)

    start(handler, batches=True, want=event_type)
    confirmed(ids[-1])
    assert processed == [*ids[:17], *ids[18:]]
    assert database.execute("SELECT array_agg(id) FROM evt_parked WHERE id = ANY (%s)", [ids]).fetchone()[0] == [ids[17]]
