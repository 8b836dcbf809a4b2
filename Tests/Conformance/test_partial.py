"""A receiver that processes a part of a group (section 8.2)."""

import pytest

from Harness.expect import refused, separate_groups
from Harness.waiting import QUIET, eventually


def events_of(source, event_type, count):
    return [source.add_event(event_type, n) for n in range(count)]


def partly(peer, group, through, failed, error="cannot"):
    peer.reply(group, {"r": {"through": through, "failed": failed, "error": error}})


@pytest.fixture
def group(source, peer, consumer, event_type):
    """A group of five events in a session with partial processing."""
    peer.register(consumer)
    events_of(source, event_type, 5)
    eventually(lambda: len(peer.poll(consumer, want=[event_type])) == 5, "all events can be delivered")
    assert peer.ready(consumer, [event_type], partial=True) is True
    group = peer.next_group()
    assert group.seq == 0 and len(group.ids) == 5
    return group


def test_each_session_has_a_number_of_its_own(source, peer, consumer, event_type, other_type, group):
    number = group.message.body["p"]["session"]
    assert isinstance(number, int)
    peer.accept(group)
    source.add_event(event_type)
    later = peer.next_group()
    assert (later.seq, later.message.body["p"]["session"]) == (1, number)
    assert peer.ready(consumer, [event_type, other_type], partial=True) is True
    again = peer.next_group()
    assert again.seq == 0 and again.message.body["p"]["session"] != number


def test_without_it_no_group_has_a_session(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type], partial=False)
    source.add_event(event_type)
    assert set(peer.next_group().message.body["p"]) == {"seq", "events"}


def test_the_rest_comes_again_under_the_same_seq(stream, peer, consumer, group):
    ids = [str(each) for each in group.ids]
    partly(peer, group, ids[2], ids[3])
    again = peer.next_group()
    assert (again.seq, [str(each) for each in again.ids]) == (0, ids[3:])
    assert again.rid != group.rid
    assert again.message.body["p"]["session"] == group.message.body["p"]["session"]
    # The position has moved over what was processed.
    peer.stop(consumer)
    position = stream.database.value(f"SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{consumer}'")
    assert str(position) == ids[2]


def test_nothing_may_have_been_processed(peer, group):
    partly(peer, group, None, str(group.ids[0]))
    again = peer.next_group()
    assert (again.seq, again.ids) == (0, group.ids)


@pytest.mark.parametrize("answer", [
    lambda ids: {"through": ids[1], "failed": ids[3], "error": ""},
    lambda ids: {"through": ids[1], "failed": ids[1], "error": ""},
    lambda ids: {"through": None, "failed": ids[1], "error": ""},
    lambda ids: {"through": ids[4], "failed": ids[4], "error": ""},
    lambda ids: {"through": ids[1], "failed": ids[2]},
    lambda ids: {"through": ids[1], "failed": ids[2], "error": 1},
    lambda ids: {"through": ids[1], "failed": ids[2], "error": "", "more": 1},
    lambda ids: {"failed": ids[0], "error": ""},
    lambda ids: {"through": int(ids[1]), "failed": int(ids[2]), "error": ""},
    lambda ids: False, lambda ids: None, lambda ids: [], lambda ids: "true",
])
def test_anything_else_is_a_failure_of_the_whole_group(peer, group, answer):
    peer.reply(group, {"r": answer([str(each) for each in group.ids])})
    again = peer.next_group()
    assert (again.seq, again.ids) == (0, group.ids)


def test_without_partial_a_part_is_a_failure_of_the_whole_group(source, peer, consumer, event_type):
    events_of(source, event_type, 3)
    eventually(lambda: len(peer.poll(consumer, want=[event_type])) == 3, "all events can be delivered")
    peer.ready(consumer, [event_type])
    group = peer.next_group()
    ids = [str(each) for each in group.ids]
    partly(peer, group, ids[0], ids[1])
    again = peer.next_group()
    assert (again.seq, again.ids) == (0, group.ids)


def test_what_follows_a_failed_event_is_confirmed_after_it(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type], partial=True)
    first, second = separate_groups(source, peer, event_type, 2)
    partly(peer, first, None, str(first.ids[0]))
    again = peer.next_group()
    assert (again.seq, again.ids) == (0, first.ids)
    peer.accept(second)
    assert peer.groups_within(QUIET) == []
    peer.accept(again)
    peer.stop(consumer)
    position = stream.database.value(f"SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:{consumer}'")
    assert int(position) == second.ids[-1]


def test_partial_is_true_or_false(peer, consumer, event_type):
    with refused("InvalidRequest"):
        peer.ready(consumer, [event_type], partial=1)
