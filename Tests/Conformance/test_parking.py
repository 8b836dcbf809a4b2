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


# Events with a key wait behind a parked event of the same key.

def keyed(stream, source, peer, consumer, event_type, keys):
    """Records an event for each key, and waits until these can be delivered in one group."""
    peer.register(consumer)
    ids = [int(source.add_event(event_type, n, **({"key": key} if key else {}))) for n, key in enumerate(keys)]
    eventually(lambda: len(peer.poll(consumer, want=[event_type])) == len(keys), "all events can be delivered")
    return ids


def park_first(peer, event_id):
    """Fails the first event of each group until it is parked; returns the group that follows."""
    group = peer.next_group()
    while group.ids[0] == event_id:
        fail(peer, group, 0)
        group = peer.next_group()
    return group


def receive(peer, last):
    """Answers groups until the one with this event; returns the ids, in order."""
    ids = []
    while last not in ids:
        group = peer.next_group()
        ids += group.ids
        peer.accept(group)
    return ids


def test_what_follows_a_parked_event_of_its_key_waits_behind_it(stream, source, peer, consumer, event_type):
    ids = keyed(stream, source, peer, consumer, event_type, ["a", "b", "a", None, "a", 'b"é'])
    assert peer.ready(consumer, [event_type], partial=True) is True
    group = park_first(peer, ids[0])
    assert (group.seq, group.ids) == (0, [ids[1], ids[3], ids[5]])
    peer.accept(group)
    assert [row[:2] for row in parked(stream, consumer)] == [[ids[0], 3], [ids[2], 0], [ids[4], 0]]
    position = f"SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{consumer}'"
    eventually(lambda: int(stream.database.value(position)) == ids[5], "the position passes what is parked")
    # One of its key stands for all, and what comes meanwhile goes with these.
    late = int(source.add_event(event_type, key="a"))
    other = int(source.add_event(event_type, key="c"))
    group = peer.next_group()
    assert group.ids == [other]
    peer.accept(group)
    stream.database.value(
        f"WITH r AS (UPDATE evt_parked SET retry = now() WHERE id = {ids[2]} RETURNING 1) SELECT count(*) FROM r")
    for expected in (ids[0], ids[2], ids[4]):
        group = peer.next_group()
        assert (group.ids, group.message.body["p"].get("parked")) == ([expected], True)
        if expected == ids[4]:
            later = int(source.add_event(event_type, key="a"))
        peer.accept(group)
    assert receive(peer, later) == [late, later]
    eventually(lambda: parked(stream, consumer) == [], "nothing is parked")
    new = int(source.add_event(event_type, key="a"))
    group = peer.next_group()
    assert group.ids == [new] and "parked" not in group.message.body["p"]
    peer.accept(group)
    eventually(lambda: parked(stream, consumer) == [], "nothing is parked")


def test_a_parked_event_that_fails_again_holds_up_its_key(stream, source, peer, consumer, event_type):
    ids = keyed(stream, source, peer, consumer, event_type, ["a", "a", "b"])
    peer.ready(consumer, [event_type], partial=True)
    group = park_first(peer, ids[0])
    assert group.ids == [ids[2]]
    peer.accept(group)
    retry(stream, consumer)
    group = peer.next_group()
    assert (group.ids, group.message.body["p"]["parked"]) == ([ids[0]], True)
    fail(peer, group, 0, "not yet")
    other = int(source.add_event(event_type, key="b"))
    group = peer.next_group()
    assert group.ids == [other]
    peer.accept(group)
    assert peer.groups_within(QUIET) == []
    assert [row[:3] for row in parked(stream, consumer)][0] == [ids[0], 4, "not yet"]


def test_a_later_session_knows_which_keys_wait(stream, source, peer, connect, consumer, event_type):
    ids = keyed(stream, source, peer, consumer, event_type, ["a", "b"])
    peer.ready(consumer, [event_type], partial=True)
    peer.accept(park_first(peer, ids[0]))
    peer.close()
    newer = [int(source.add_event(event_type, key=key)) for key in "ab"]
    other = connect(stream.pusher.endpoint)
    ready_when_free(other, consumer, [event_type], partial=True)
    group = other.next_group()
    while newer[1] not in group.ids:
        assert newer[0] not in group.ids
        other.accept(group)
        group = other.next_group()
    assert newer[0] not in group.ids
    other.accept(group)
    assert [row[0] for row in parked(stream, consumer)] == [ids[0], newer[0]]


def test_without_partial_no_event_waits_behind_a_parked_one(stream, source, peer, consumer, event_type):
    ids = keyed(stream, source, peer, consumer, event_type, ["a", "a"])
    peer.ready(consumer, [event_type])
    received = []
    while ids[1] not in received:
        group = peer.next_group()
        if ids[0] in group.ids:
            peer.refuse(group)
        else:
            received += group.ids
            peer.accept(group)
    assert [row[0] for row in parked(stream, consumer)] == [ids[0]]
