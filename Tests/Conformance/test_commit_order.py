"""Transactions commit in any order, events are delivered in the order of their ids (sections 3, 5, 6).

An event whose id was taken earlier, in a transaction still open, holds back those with later ids: otherwise a
consumer that confirmed the later one would never see the earlier.
"""

import random

import pytest

from Harness.database import add_sql
from Harness.waiting import QUIET
from Harness.wire import NoMessage


@pytest.fixture
def watch(stream, source, subscribe, connect, component, event_type):
    """Everybody who may receive the event type: broadcast, LIVE session, reliable session, poller."""
    class Watch:
        def __init__(self):
            self.subscriber = subscribe(stream, source, event_type)
            self.live, self.reliable, self.poller = (connect(stream.pusher.endpoint) for _ in range(3))
            self.poller.register(f"{component}_p")
            last = source.add_event("BEFORE")
            self.poller.poll(f"{component}_p", last_id=last)
            self.reliable.register(component)
            self.reliable.poll(component, last_id=last)
            self.reliable.ready(component, [event_type])
            self.live.ready("LIVE", [event_type])

        def polled(self) -> list[int]:
            return [int(event["id"]) for event in self.poller.poll(f"{component}_p", want=[event_type])]

        def nobody_sees_anything(self) -> None:
            with pytest.raises(NoMessage):
                self.subscriber.next_event(timeout=QUIET)
            assert self.live.groups_within(0.1) == []
            assert self.reliable.groups_within(0.1) == []
            assert self.polled() == []

        def everybody_sees(self, ids: list[int]) -> None:
            assert [int(self.subscriber.next_event()["id"]) for _ in ids] == ids
            for receiver in (self.live, self.reliable):
                assert [int(event["id"]) for event in receiver.receive_events(len(ids))] == ids
            assert self.polled() == ids

    return Watch()


@pytest.mark.parametrize("how", ["evt_add", "insert"])
@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_later_event_waits_for_an_earlier_one_whose_transaction_is_open(sql, watch, event_type, how, ending):
    older, newer = sql(), sql()
    older.run("BEGIN")
    first = int(older.value(add_sql(event_type, "1", how)))
    second = int(newer.value(add_sql(event_type, "2", how)))
    assert first < second
    watch.nobody_sees_anything()
    older.run(ending)
    watch.everybody_sees([first, second] if ending == "COMMIT" else [second])


def test_an_event_recorded_by_a_call_waits_as_well(sql, source, watch, event_type):
    older = sql()
    older.run("BEGIN")
    first = int(older.value(add_sql(event_type)))
    second = int(source.add_event(event_type))
    assert first < second
    watch.nobody_sees_anything()
    older.run("COMMIT")
    watch.everybody_sees([first, second])


def test_a_transaction_that_dies_holds_nothing_back(sql, watch, event_type):
    older, newer = sql(), sql()
    older.run("BEGIN")
    older.value(add_sql(event_type))
    second = int(newer.value(add_sql(event_type)))
    older.close()
    watch.everybody_sees([second])


def test_an_event_that_was_rolled_back_to_a_savepoint_is_never_seen(sql, watch, event_type):
    session = sql()
    session.run("BEGIN")
    first = int(session.value(add_sql(event_type)))
    session.run("SAVEPOINT here")
    session.value(add_sql(event_type))
    session.run("ROLLBACK TO SAVEPOINT here")
    third = int(session.value(add_sql(event_type)))
    session.run("COMMIT")
    watch.everybody_sees([first, third])


def test_an_older_transaction_that_records_its_event_late_is_not_skipped(sql, watch, event_type):
    older, newer = sql(), sql()
    older.run("BEGIN")
    older.run("SELECT txid_current()")
    first = int(newer.value(add_sql(event_type)))
    second = int(older.value(add_sql(event_type)))
    older.run("COMMIT")
    watch.everybody_sees([first, second])


def test_interleaved_transactions_that_commit_in_any_order_are_delivered_in_id_order(sql, watch, event_type):
    chance = random.Random(15)
    sessions = [sql() for _ in range(5)]
    ids = []
    for session in sessions:
        session.run("BEGIN")
    for _ in range(4):
        chance.shuffle(sessions)
        ids += [int(session.value(add_sql(event_type))) for session in sessions]
    for session in chance.sample(sessions, len(sessions)):
        session.run("COMMIT")
    assert ids == sorted(ids)
    watch.everybody_sees(ids)


def test_a_consumer_that_confirms_as_it_goes_misses_nothing_while_transactions_overlap(
        sql, peer, consumer, event_type):
    older, newer = sql(), sql()
    expected, received, last_id = [], [], None

    def poll() -> None:
        nonlocal last_id
        for event in peer.poll(consumer, last_id=last_id, want=[event_type]):
            received.append(int(event["id"]))
            last_id = event["id"]

    for _ in range(10):
        older.run("BEGIN")
        expected.append(int(older.value(add_sql(event_type))))
        expected.append(int(newer.value(add_sql(event_type))))
        poll()
        older.run("COMMIT")
        poll()
    poll()
    assert received == expected
