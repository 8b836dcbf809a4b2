"""Events that a receiver cannot process (section 8.3)."""

import json

from Harness.expect import ready_when_free
from Harness.waiting import QUIET, eventually

# Pushers learn of parked events that are to be delivered again with a sign of life, five in this time.
SETTINGS = {"EVT_SESSION_TIMEOUT": "10s", "EVT_MAX_ATTEMPTS": "3", "EVT_ACK_TIMEOUT": "1s"}


def events_of(stream, source, peer, consumer, event_type, count):
    """Records events, and waits until they can be delivered in one group."""
    peer.register(consumer)
    ids = [int(source.add_event(event_type, n)) for n in range(count)]
    eventually(lambda: len(peer.poll(consumer, want=[event_type])) == count, "all events can be delivered")
    return ids


def fail(peer, group, index, error="cannot"):
    ids = [str(each) for each in group.ids]
    through = ids[index - 1] if index else None
    peer.reply(group, {"r": {"through": through, "failed": ids[index], "error": error}})


def parked(stream, consumer):
    rows = stream.database.value(
        "SELECT COALESCE(json_agg(json_build_array(p.id, p.attempts, p.error, p.data) ORDER BY p.id), '[]')::text "
        f"FROM evt_parked p JOIN evt_consumers c ON c.id = p.consumer WHERE ident = 'local:{consumer}'")
    return json.loads(rows)


def retry(stream, consumer):
    stream.database.value(
        "WITH r AS (UPDATE evt_parked p SET retry = now() FROM evt_consumers c "
        f"WHERE c.id = p.consumer AND ident = 'local:{consumer}' RETURNING 1) SELECT count(*) FROM r")


def park(stream, source, peer, consumer, event_type):
    """The second of five events is parked; returns the ids, and the group that follows."""
    ids = events_of(stream, source, peer, consumer, event_type, 5)
    assert peer.ready(consumer, [event_type], partial=True) is True
    group = peer.next_group()
    assert group.ids == ids
    session = group.message.body["p"]["session"]
    fail(peer, group, 1)
    for _ in range(2):
        group = peer.next_group()
        assert (group.seq, group.ids, group.message.body["p"]["session"]) == (0, ids[1:], session)
        fail(peer, group, 0, "still not")
    group = peer.next_group()
    assert (group.seq, group.ids) == (0, ids[2:])
    assert group.message.body["p"]["session"] != session
    assert "parked" not in group.message.body["p"]
    return ids, group


def test_an_event_that_fails_as_often_as_it_may_is_parked(stream, source, peer, consumer, event_type):
    ids, group = park(stream, source, peer, consumer, event_type)
    assert parked(stream, consumer) == [[ids[1], 3, "still not", 1]]
    peer.accept(group)
    peer.stop(consumer)
    position = stream.database.value(f"SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{consumer}'")
    assert int(position) == ids[-1]


def test_a_late_answer_to_a_group_of_the_session_before_is_ignored(stream, source, peer, consumer, event_type):
    ids = events_of(stream, source, peer, consumer, event_type, 2)
    peer.ready(consumer, [event_type], partial=True)
    first = peer.next_group()
    fail(peer, first, 0)
    for _ in range(2):
        group = peer.next_group()
        fail(peer, group, 0)
    after = peer.next_group()
    assert (after.seq, after.ids) == (0, ids[1:])
    peer.accept(first)
    peer.accept(after)
    eventually(lambda: peer.lag(consumer)["events"] == 0, "nothing waits")
    assert [row[0] for row in parked(stream, consumer)] == [ids[0]]


def test_a_parked_event_is_delivered_again_in_the_row(stream, source, peer, consumer, event_type):
    ids, group = park(stream, source, peer, consumer, event_type)
    peer.accept(group)
    retry(stream, consumer)
    again = peer.next_group()
    assert (again.seq, again.ids, again.message.body["p"]["parked"]) == (1, [ids[1]], True)
    fail(peer, again, 0, "not yet")
    eventually(lambda: parked(stream, consumer) == [[ids[1], 4, "not yet", 1]], "the event is parked again")
    newer = int(source.add_event(event_type))
    group = peer.next_group()
    assert (group.seq, group.ids) == (2, [newer])
    peer.accept(group)
    retry(stream, consumer)
    again = peer.next_group()
    assert (again.seq, again.ids) == (3, [ids[1]])
    peer.accept(again)
    eventually(lambda: parked(stream, consumer) == [], "the event is parked no more")


def test_a_parked_event_comes_again_until_it_is_answered(stream, source, peer, connect, consumer, event_type):
    ids, group = park(stream, source, peer, consumer, event_type)
    peer.accept(group)
    retry(stream, consumer)
    assert peer.next_group().ids == [ids[1]]
    peer.close()
    other = connect(stream.pusher.endpoint)
    ready_when_free(other, consumer, [event_type], partial=True)
    again = other.next_group()
    assert (again.ids, again.message.body["p"]["parked"]) == ([ids[1]], True)
    other.accept(again)
    eventually(lambda: parked(stream, consumer) == [], "the event is parked no more")


def test_without_partial_the_events_come_one_by_one_until_the_culprit_is_known(stream, source, peer, consumer, event_type):
    ids = events_of(stream, source, peer, consumer, event_type, 4)
    peer.ready(consumer, [event_type])
    for _ in range(3):
        group = peer.next_group()
        assert (group.seq, group.ids) == (0, ids)
        peer.refuse(group)
    received = []
    while not received or received[-1] != ids[-1]:
        group = peer.next_group()
        assert len(group.ids) == 1 and "session" not in group.message.body["p"]
        if group.ids == [ids[2]]:
            peer.refuse(group)
        else:
            received += group.ids
            peer.accept(group)
    assert received == [ids[0], ids[1], ids[3]]
    assert [row[:2] for row in parked(stream, consumer)] == [[ids[2], 3]]
    newer = [int(source.add_event(event_type)) for _ in range(2)]
    assert peer.receive_until(str(newer[1])) == [str(each) for each in newer]


def test_a_missing_answer_counts_for_an_event_alone(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type], partial=True)
    event_id = int(source.add_event(event_type))
    for _ in range(3):
        assert peer.next_group().ids == [event_id]
    eventually(lambda: [row[:2] for row in parked(stream, consumer)] == [[event_id, 3]], "the event is parked")
    assert peer.groups_within(QUIET) == []


def test_a_receiver_may_ask_that_nothing_is_parked(stream, source, peer, consumer, event_type):
    ids = events_of(stream, source, peer, consumer, event_type, 2)
    peer.ready(consumer, [event_type], park=False)
    for _ in range(5):
        group = peer.next_group()
        assert (group.seq, group.ids) == (0, ids)
        peer.refuse(group)
    assert parked(stream, consumer) == []
