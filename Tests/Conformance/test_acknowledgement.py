"""Answers to onEvents: what moves the stored position, what brings a group again (section 5)."""

import json

import pytest

from Harness.expect import comes_next, separate_groups
from Harness.waiting import QUIET, eventually, throughout


@pytest.fixture
def groups(source, peer, consumer, event_type):
    """Three groups in flight, with seq 0, 1 and 2."""
    peer.ready(consumer, [event_type])
    return separate_groups(source, peer, event_type, 3)


def test_an_accepted_group_moves_the_stored_position(stream, peer, consumer, groups):
    for group in groups:
        peer.accept(group)
        eventually(lambda: stream.position(consumer) >= group.ids[-1], "the position is stored")


def test_the_position_moves_only_over_the_answered_prefix(stream, peer, consumer, groups):
    peer.accept(groups[2])
    peer.accept(groups[1])
    peer.ping()
    throughout(lambda: stream.position(consumer) < groups[0].ids[0], "group 0 is not answered")
    peer.accept(groups[0])
    eventually(lambda: stream.position(consumer) >= groups[2].ids[-1], "all three are answered")


def test_a_gap_in_the_middle_holds_the_position_there(stream, peer, consumer, groups):
    peer.accept(groups[2])
    peer.accept(groups[0])
    eventually(lambda: stream.position(consumer) >= groups[0].ids[-1], "group 0 is answered")
    throughout(lambda: stream.position(consumer) < groups[1].ids[0], "group 1 is not answered")


def test_a_refused_group_comes_again_with_the_same_seq_and_events_under_a_new_rid(stream, peer, consumer, groups):
    peer.refuse(groups[1])
    again = peer.next_group()
    assert (again.seq, again.events) == (groups[1].seq, groups[1].events)
    assert again.rid not in {group.rid for group in groups}
    for group in (groups[0], again, groups[2]):
        peer.accept(group)
    eventually(lambda: stream.position(consumer) >= groups[2].ids[-1], "all are answered in the end")


def test_a_group_refused_several_times_still_comes_again(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [first] = separate_groups(source, peer, event_type, 1)
    rids, again = {first.rid}, first
    for error in ("InternalError", "InvalidRequest", "SomeErrorOfOurs"):
        peer.refuse(again, error)
        again = peer.next_group()
        assert (again.seq, again.events) == (first.seq, first.events)
        rids.add(again.rid)
    assert len(rids) == 4
    assert stream.position(consumer) < first.ids[0]
    peer.accept(again)
    source.add_event(event_type)
    assert peer.next_group().seq == 1


def test_a_refused_group_does_not_move_the_position(stream, peer, consumer, groups):
    peer.refuse(groups[0])
    peer.accept(groups[1])
    peer.accept(groups[2])
    assert peer.next_group().seq == 0
    assert stream.position(consumer) < groups[0].ids[0]


def test_an_error_answer_needs_no_text(peer, groups):
    peer.send(json.dumps({"e": "InternalError", "rid": groups[0].rid}))
    assert peer.next_group().events == groups[0].events


def test_answering_twice_is_harmless(stream, source, peer, consumer, event_type, groups):
    for group in (*groups, *groups):
        peer.accept(group)
    peer.refuse(groups[0])
    eventually(lambda: stream.position(consumer) >= groups[2].ids[-1], "all are answered")
    comes_next(source, peer, event_type, seq=3)


@pytest.mark.parametrize("answer", [
    {"r": True, "rid": "S999999999"}, {"r": True, "rid": "C1"}, {"r": True}, {"r": True, "rid": None}], ids=json.dumps)
def test_an_answer_to_another_call_confirms_nothing(stream, peer, consumer, groups, answer):
    peer.send(json.dumps(answer))
    peer.ping()
    throughout(lambda: stream.position(consumer) < groups[0].ids[0], "nothing is answered")


def test_a_stranger_cannot_answer_for_the_receiver(stream, peer, rival, consumer, groups):
    for group in groups:
        rival.accept(group)
    rival.ping()
    throughout(lambda: stream.position(consumer) < groups[0].ids[0], "the receiver itself has not answered")
    for group in groups:
        peer.accept(group)
    eventually(lambda: stream.position(consumer) >= groups[2].ids[-1], "the receiver has answered")


def test_a_stranger_cannot_refuse_for_the_receiver(peer, rival, groups):
    rival.refuse(groups[0])
    rival.ping()
    assert peer.groups_within(QUIET) == []
