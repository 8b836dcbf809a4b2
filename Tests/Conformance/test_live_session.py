"""A LIVE session: from now on, without registration, without a second try (section 5)."""

from Harness.database import add_sql
from Harness.expect import comes_next, separate_groups
from Harness.waiting import QUIET

SETTINGS = {"EVT_ACK_TIMEOUT": "1s"}


def test_no_registration_is_needed_and_nothing_is_stored(stream, source, peer, event_type):
    assert peer.ready("LIVE", [event_type]) is True
    comes_next(source, peer, event_type)
    peer.stop("LIVE")
    assert stream.database.value("SELECT count(*) FROM evt_consumers WHERE ident LIKE '%LIVE%'") == "0"


def test_only_events_committed_after_the_call_come(source, peer, event_type):
    for _ in range(5):
        source.add_event(event_type)
    peer.ready("LIVE", [event_type])
    comes_next(source, peer, event_type, seq=0)


def test_what_counts_is_the_commit_and_not_the_insert(sql, peer, event_type):
    session = sql()
    session.run("BEGIN")
    event_id = int(session.value(add_sql(event_type)))
    peer.ready("LIVE", [event_type])
    session.run("COMMIT")
    assert peer.next_group().ids == [event_id]


def test_events_come_in_id_order_with_seq_from_0_without_gaps_while_the_peer_keeps_up(source, peer, event_type):
    peer.ready("LIVE", [event_type])
    recorded = [int(source.add_event(event_type, number)) for number in range(50)]
    seqs, received = [], []
    while len(received) < len(recorded):
        group = peer.next_group()
        peer.accept(group)
        seqs.append(group.seq)
        received += group.ids
    assert received == recorded
    assert seqs == list(range(len(seqs)))


def test_many_peers_can_be_live_at_once(stream, source, connect, event_type):
    peers = [connect(stream.pusher.endpoint) for _ in range(4)]
    for peer in peers:
        assert peer.ready("LIVE", [event_type]) is True
    recorded = [source.add_event(event_type) for _ in range(10)]
    for peer in peers:
        assert [event["id"] for event in peer.receive_events(10)] == recorded


def test_a_live_session_keeps_no_registered_consumer_out(source, peer, rival, consumer, event_type):
    rival.ready("LIVE", [event_type])
    peer.ready(consumer, [event_type])
    event_id = source.add_event(event_type)
    for receiver in (peer, rival):
        assert [event["id"] for event in receiver.receive_events(1)] == [event_id]


def test_a_refused_group_does_not_come_again(source, peer, event_type):
    peer.ready("LIVE", [event_type])
    [group] = separate_groups(source, peer, event_type, 1)
    peer.refuse(group)
    assert peer.groups_within(QUIET) == []
    comes_next(source, peer, event_type, seq=1)


def test_an_unanswered_group_does_not_come_again(source, peer, event_type):
    peer.ready("LIVE", [event_type])
    separate_groups(source, peer, event_type, 1)
    assert peer.groups_within(2) == []
    comes_next(source, peer, event_type, seq=1)


def test_missing_answers_do_not_hold_up_the_session_forever(source, peer, event_type):
    peer.ready("LIVE", [event_type])
    separate_groups(source, peer, event_type, 4)
    comes_next(source, peer, event_type, seq=4)


def test_precise_time_can_be_asked_for(source, peer, event_type):
    peer.ready("LIVE", [event_type], precise=True)
    source.add_event(event_type)
    [event] = peer.receive_events(1)
    assert set(event) == {"id", "type", "data", "ts", "us"}


def test_behind_an_open_gap_only_what_is_committed_after_the_call_comes(source, peer, sql, event_type):
    writer = sql()
    writer.run("BEGIN")
    opened = int(writer.value(add_sql(event_type, '"open"')))
    before = [int(source.add_event(event_type, number)) for number in range(3)]
    assert before[0] > opened
    peer.ready("LIVE", [event_type])
    after = int(source.add_event(event_type, "after"))
    writer.run("COMMIT")
    assert [int(event["id"]) for event in peer.receive_events(2)] == [opened, after]
