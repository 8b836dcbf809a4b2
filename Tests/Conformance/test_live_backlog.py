"""A LIVE session that falls behind loses the oldest, and can see it; a reliable one loses nothing (section 5)."""

import pytest

SETTINGS = {"EVT_QUEUE_MAX": "10", "EVT_REQUEST_MAX": "1", "EVT_ACK_TIMEOUT": "600s"}
BEHIND = 60


@pytest.fixture
def fall_behind(stream, source, subscribe, event_type):
    """Records events one by one, each after the pusher has seen the one before."""
    subscriber = subscribe(stream, source, event_type)

    def record(count: int) -> list[int]:
        ids = []
        for number in range(count):
            ids.append(int(source.add_event(event_type, number)))
            assert subscriber.next_event()["id"] == str(ids[-1])
        return ids
    return record


def drain(peer, last_id: int) -> tuple[list[int], list[int]]:
    """Accepts groups up to an event; returns the seqs and the ids."""
    seqs, ids = [], []
    while last_id not in ids:
        group = peer.next_group()
        peer.accept(group)
        seqs.append(group.seq)
        ids += group.ids
    return seqs, ids


def test_the_oldest_waiting_groups_are_dropped_and_seq_shows_it(peer, fall_behind, event_type):
    peer.ready("LIVE", [event_type])
    [first_id] = fall_behind(1)
    first = peer.next_group()
    assert (first.seq, first.ids) == (0, [first_id])
    recorded = fall_behind(BEHIND)
    peer.accept(first)
    seqs, ids = drain(peer, recorded[-1])
    assert set(ids) <= set(recorded) and ids == sorted(set(ids))
    assert len(ids) < BEHIND, "something was dropped"
    assert ids == recorded[-len(ids):], "the oldest go first"
    assert seqs == sorted(set(seqs))
    assert seqs[0] > 1, "the gap is where the groups were dropped"
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "there is no other gap"


def test_the_session_goes_on_without_gaps_after_a_loss(peer, fall_behind, event_type):
    peer.ready("LIVE", [event_type])
    fall_behind(1)
    first = peer.next_group()
    recorded = fall_behind(BEHIND)
    peer.accept(first)
    seqs, _ = drain(peer, recorded[-1])
    for number in range(1, 4):
        [event_id] = fall_behind(1)
        group = peer.next_group()
        peer.accept(group)
        assert (group.seq, group.ids) == (seqs[-1] + number, [event_id])


def test_another_live_peer_loses_nothing(peer, rival, fall_behind, event_type):
    peer.ready("LIVE", [event_type])
    rival.ready("LIVE", [event_type])
    recorded, received = [], []
    for _ in range(BEHIND):
        recorded += fall_behind(1)
        received += [int(event["id"]) for event in rival.receive_events(1)]
    assert received == recorded


def test_a_reliable_session_that_falls_behind_loses_nothing(peer, consumer, fall_behind, event_type):
    peer.ready(consumer, [event_type])
    recorded = fall_behind(BEHIND)
    seqs, ids = drain(peer, recorded[-1])
    assert ids == recorded
    assert seqs == list(range(len(seqs)))
