"""readyToReceive in a running session (section 5)."""

from Harness.expect import QUIET, eventually, ready_when_free, separate_groups


def test_the_same_ready_to_receive_again_changes_nothing(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    for _ in range(5):
        assert peer.ready(consumer, [event_type]) is True
    assert peer.groups_within(QUIET) == [], "what is in flight is not sent again"
    peer.accept(group)
    event_id = source.add_event(event_type)
    following = peer.next_group()
    assert (following.seq, following.ids) == (1, [int(event_id)])


def test_an_answer_after_a_repeated_ready_to_receive_still_counts(stream, source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.ready(consumer, [event_type])
    peer.accept(group)
    eventually(lambda: stream.position(consumer) >= group.ids[-1], "the position is stored")


def test_another_want_starts_again_at_seq_0(source, peer, consumer, event_type, other_type):
    peer.ready(consumer, [event_type])
    for group in separate_groups(source, peer, event_type, 2):
        peer.accept(group)
    assert peer.ready(consumer, [other_type]) is True
    source.add_event(event_type)
    event_id = source.add_event(other_type)
    group = peer.next_group()
    assert (group.seq, group.ids) == (0, [int(event_id)])


def test_another_want_brings_unanswered_events_again(source, peer, consumer, event_type, other_type):
    peer.ready(consumer, [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.ready(consumer, [event_type, other_type])
    later = int(source.add_event(other_type))
    again = peer.next_group()
    peer.accept(again)
    assert again.seq == 0
    received = list(again.ids)
    while len(received) < 2:
        received += [int(event["id"]) for event in peer.receive_events(1)]
    assert received == group.ids + [later]


def test_want_null_and_a_list_are_different_wants(source, peer, component, event_type):
    before = source.add_event("BEFORE")
    peer.register(component)
    peer.poll(component, last_id=before)  # so that nothing of the other tests is left
    peer.ready(component)
    peer.accept(separate_groups(source, peer, event_type, 1)[0])
    peer.ready(component, [event_type])
    source.add_event(event_type)
    assert peer.next_group().seq == 0


def test_a_stopped_session_can_be_started_again_at_seq_0(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    peer.accept(separate_groups(source, peer, event_type, 1)[0])
    peer.stop(consumer)
    ready_when_free(peer, consumer, [event_type])
    assert separate_groups(source, peer, event_type, 1)[0].seq == 0
