"""A group that is not answered in time comes again (section 5)."""

from Harness.expect import comes_next, separate_groups
from Harness.waiting import eventually

SETTINGS = {"EVT_ACK_TIMEOUT": "1s"}


def forget_what_was_on_its_way(peer) -> None:
    """On a slow machine a repetition may have been sent before the answer came; none is sent after it."""
    peer.ping()
    peer.groups_within(0)


def test_an_unanswered_group_comes_again_under_a_new_rid(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [first] = separate_groups(source, peer, event_type, 1)
    second, third = peer.next_group(), peer.next_group()
    for again in (second, third):
        assert (again.seq, again.events) == (first.seq, first.events)
    assert len({first.rid, second.rid, third.rid}) == 3
    assert stream.position(consumer) < first.ids[0]


def test_the_answer_to_the_repetition_counts(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [first] = separate_groups(source, peer, event_type, 1)
    peer.accept(peer.next_group())
    forget_what_was_on_its_way(peer)
    eventually(lambda: stream.position(consumer) >= first.ids[-1], "the position is stored")
    comes_next(source, peer, event_type, seq=1)


def test_only_the_unanswered_group_comes_again(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    event_ids = [source.add_event(event_type, 0)]
    first = peer.next_group()
    event_ids.append(source.add_event(event_type, 1))
    while (second := peer.next_group()).seq == 0:
        first = second  # a slow machine may see the repetition already
    peer.accept(second)
    forget_what_was_on_its_way(peer)
    again = peer.next_group()
    assert (again.seq, again.events) == (0, first.events)
    assert stream.position(consumer) < first.ids[0]
    peer.accept(again)
    eventually(lambda: stream.position(consumer) >= int(event_ids[1]), "both are answered")


def test_nothing_is_lost_when_the_receiver_is_deaf_for_a_while(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    recorded = [int(source.add_event(event_type, number)) for number in range(30)]
    seen: dict[int, list[int]] = {}
    for group in peer.groups_within(1.5):  # all of these stay unanswered
        assert seen.setdefault(group.seq, group.ids) == group.ids, "the same seq has the same events"
    answered: set[int] = set()
    while sum((seen[seq] for seq in sorted(answered)), []) != recorded:
        group = peer.next_group()
        peer.accept(group)
        assert seen.setdefault(group.seq, group.ids) == group.ids, "the same seq has the same events"
        answered.add(group.seq)
    assert sorted(seen) == list(range(len(seen)))
