"""readyToReceive in a running session (section 5)."""

from Harness.expect import begins_anew, comes_next, ready_when_free, separate_groups
from Harness.waiting import QUIET, eventually


def test_the_same_ready_to_receive_again_changes_nothing(source, peer, either, event_type):
    peer.ready(either, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    for _ in range(5):
        assert peer.ready(either, [event_type]) is True
    assert peer.groups_within(QUIET) == [], "what is in flight is not sent again"
    peer.accept(group)
    comes_next(source, peer, event_type, seq=1)


def test_an_answer_after_a_repeated_ready_to_receive_still_counts(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.ready(consumer, [event_type])
    peer.accept(group)
    eventually(lambda: stream.position(consumer) >= group.ids[-1], "the position is stored")


def test_another_want_starts_again_at_seq_0(source, peer, either, event_type, other_type):
    peer.ready(either, [event_type])
    for group in separate_groups(source, peer, event_type, 2):
        peer.accept(group)
    assert peer.ready(either, [other_type]) is True
    source.add_event(event_type)
    comes_next(source, peer, other_type, seq=0)


def test_another_want_brings_unanswered_events_again(source, peer, consumer, event_type, other_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.ready(consumer, [event_type, other_type])
    later = int(source.add_event(other_type))
    assert begins_anew(peer, 2) == group.ids + [later]


def test_want_null_and_a_list_are_different_wants(source, peer, component, event_type):
    before = source.add_event("BEFORE")
    peer.register(component)
    peer.poll(component, last_id=before)  # so that nothing of the other tests is left
    peer.ready(component)
    peer.accept(separate_groups(source, peer, event_type, 1)[0])
    peer.ready(component, [event_type])
    source.add_event(event_type)
    assert peer.next_group().seq == 0


def test_a_stopped_session_brings_nothing_and_can_be_started_again_at_seq_0(source, peer, either, event_type):
    peer.ready(either, [event_type])
    comes_next(source, peer, event_type, seq=0)
    assert peer.stop(either) is True
    missed = int(source.add_event(event_type))
    assert peer.groups_within(QUIET) == []
    ready_when_free(peer, either, [event_type])
    if either == "LIVE":
        comes_next(source, peer, event_type, seq=0)
    else:
        assert begins_anew(peer, 1) == [missed]
