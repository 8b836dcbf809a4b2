"""A reliable session: what the pusher calls, in which order, how much at once (sections 4 and 5)."""

import re

from Harness.expect import separate_groups
from Harness.waiting import QUIET, eventually
from Harness.wire import GEN, ON_EVENTS


def test_the_pusher_calls_on_events_with_seq_and_events(source, peer, consumer, event_type):
    assert peer.ready(consumer, [event_type]) is True
    event_id = source.add_event(event_type, {"a": [1]})
    call = peer.next_group().message.body
    assert set(call) >= {"f", "p", "rid"}
    assert call["f"] == ON_EVENTS
    assert re.match(r"S", call["rid"])
    assert set(call["p"]) == {"seq", "events"}
    assert call["p"]["seq"] == 0
    assert [(event["id"], event["type"], event["data"]) for event in call["p"]["events"]] == [
        (event_id, event_type, {"a": [1]})]


def test_the_answer_to_ready_to_receive_comes_before_the_first_group(
        stream, source, peer, connect, component, event_type):
    peer.register(component)
    for number in range(150):
        source.request(f"{GEN}:addEvent", {"type": event_type, "data": number})
    source.ping()
    receiver = connect(stream.pusher.endpoint)
    for _ in range(10):
        receiver.received.clear()
        rid = receiver.request("futoin.evt.push:1.1:readyToReceive", {"component": component, "want": [event_type]})
        assert receiver.next_group().seq == 0
        assert receiver.received[0].body == {"r": True, "rid": rid}
        receiver.stop(component)
        receiver.groups_within(0.05)


def test_a_session_starts_right_after_the_stored_position(stream, source, peer, consumer, event_type):
    recorded = [source.add_event(event_type) for _ in range(5)]
    peer.poll(consumer, last_id=recorded[1], want=[event_type])
    peer.ready(consumer, [event_type])
    assert [event["id"] for event in peer.receive_events(3)] == recorded[2:]


def test_every_wanted_event_comes_once_in_id_order_with_seq_from_0_without_gaps(source, peer, consumer, event_type):
    rids = [source.request(f"{GEN}:addEvent", {"type": event_type, "data": n}) for n in range(300)]
    peer.ready(consumer, [event_type])
    rids += [source.request(f"{GEN}:addEvent", {"type": event_type, "data": n}) for n in range(300, 600)]
    seqs, received = [], []
    while len(received) < 600:
        group = peer.next_group()
        peer.accept(group)
        seqs.append(group.seq)
        received += group.ids
    assert received == [int(source.answer(rid).result()) for rid in rids]
    assert seqs == list(range(len(seqs)))


def test_every_group_has_a_rid_of_its_own(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 4)
    assert len({group.rid for group in groups}) == 4


def test_only_wanted_types_come(source, peer, either, event_type, other_type):
    peer.ready(either, [event_type, other_type])
    recorded = [source.add_event(kind) for kind in (event_type, "NOISE", other_type, event_type + "X", event_type)]
    assert [event["id"] for event in peer.receive_events(3)] == [recorded[0], recorded[2], recorded[4]]


def test_want_null_brings_all_types(source, peer, either, event_type, other_type):
    peer.poll(either, last_id=source.add_event("BEFORE"))  # so that nothing of the other tests is left
    peer.ready(either)
    recorded = [source.add_event(event_type), source.add_event(other_type)]
    assert [event["id"] for event in peer.receive_events(2)] == recorded


def test_no_more_than_request_max_groups_are_in_flight(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 4)
    waiting = [int(source.add_event(event_type)) for _ in range(3)]
    assert peer.groups_within(QUIET) == []
    received = []
    for group in groups:
        peer.accept(group)
    while len(received) < len(waiting):
        group = peer.next_group()
        peer.accept(group)
        received += group.ids
    assert received == waiting


def test_an_answer_makes_room_for_the_next_group(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    groups = separate_groups(source, peer, event_type, 4)
    waiting = int(source.add_event(event_type))
    peer.accept(groups[2])
    group = peer.next_group()
    assert (group.seq, group.ids) == (4, [waiting])


def test_two_consumers_on_two_connections_each_get_everything(source, peer, rival, component, event_type):
    sessions = [(peer, component), (rival, f"{component}_b")]
    for connection, name in sessions:
        connection.register(name)
        connection.ready(name, [event_type])
    recorded = [source.add_event(event_type) for _ in range(20)]
    for connection, _ in sessions:
        assert [event["id"] for event in connection.receive_events(20)] == recorded


def test_a_receiver_that_does_not_answer_holds_up_nobody_else(source, peer, rival, component, event_type):
    peer.register(component)
    peer.ready(component, [event_type])
    rival.register(f"{component}_b")
    rival.ready(f"{component}_b", [event_type])
    recorded = [source.add_event(event_type) for _ in range(50)]
    assert [event["id"] for event in rival.receive_events(50)] == recorded


def test_a_receiver_behind_a_delimiter_is_served_too(stream, source, connect, component, event_type):
    receiver = connect(stream.pusher.endpoint, delimiter=True)
    receiver.register(component)
    receiver.ready(component, [event_type])
    recorded = [source.add_event(event_type) for _ in range(5)]
    assert [event["id"] for event in receiver.receive_events(5)] == recorded
    eventually(lambda: stream.position(component) >= int(recorded[-1]), "the answers count")


def test_calls_can_be_made_while_groups_are_in_flight(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    group = separate_groups(source, peer, event_type, 1)[0]
    assert peer.ping(5) == {"echo": 5}
    assert [event["id"] for event in peer.poll("LIVE", want=[event_type])] == [str(group.ids[0])]
    peer.accept(group)
    source.add_event(event_type)
    assert peer.next_group().seq == 1
