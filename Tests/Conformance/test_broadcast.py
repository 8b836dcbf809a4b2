"""The live broadcast for plain SUB sockets (section 6)."""

import json

import pytest
import zmq

from Harness.database import add_sql
from Harness.sockets import new_socket
from Harness.waiting import eventually
from Harness.wire import GEN, NoMessage, Subscriber


def test_an_event_is_two_frames_the_type_and_the_event(stream, source, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    event_id = source.add_event(event_type, {"n": 1})
    frames = subscriber.next_frames()
    assert len(frames) == 2
    assert frames[0] == event_type.encode("ascii")
    event = json.loads(frames[1])
    assert set(event) == {"id", "type", "data", "ts"}
    assert (event["id"], event["type"], event["data"]) == (event_id, event_type, {"n": 1})


def test_each_event_is_one_message_in_id_order(stream, source, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    rids = [source.request(f"{GEN}:addEvent", {"type": event_type, "data": number}) for number in range(300)]
    ids = [source.answer(rid).result() for rid in rids]
    assert [subscriber.next_event()["id"] for _ in ids] == ids


def test_events_of_one_transaction_come_one_by_one_in_id_order(stream, source, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    ids = stream.database.values(f"SELECT evt_add('{event_type}', to_json(n)) FROM generate_series(1, 200) n")
    assert [subscriber.next_event()["id"] for _ in ids] == ids


def test_a_subscription_is_a_prefix_of_the_type(stream, source, subscribe, event_type, other_type):
    subscriber = subscribe(stream, source, event_type)
    source.add_event(other_type)
    wanted = [source.add_event(event_type + "A"), source.add_event(event_type + "B"), source.add_event(event_type)]
    assert [subscriber.next_event()["id"] for _ in wanted] == wanted


def test_the_empty_subscription_brings_everything(stream, source, subscribe, event_type, other_type):
    subscriber = subscribe(stream, source, "")
    recorded = [source.add_event(kind) for kind in (event_type, other_type, "USR_ADD")]
    assert [subscriber.next_event()["id"] for _ in recorded] == recorded


def test_several_subscriptions_bring_each_event_once_in_id_order(stream, source, subscribe, event_type, other_type):
    subscriber = subscribe(stream, source, event_type, other_type, event_type + "A")
    recorded = [source.add_event(kind) for kind in (other_type, event_type + "AB", "NOISE", event_type, other_type)]
    del recorded[2]
    assert [subscriber.next_event()["id"] for _ in recorded] == recorded


def test_events_before_the_subscription_do_not_come(stream, source, subscribe, event_type):
    before = {source.add_event(event_type) for _ in range(5)}
    subscriber = subscribe(stream, source, event_type)
    after = source.add_event(event_type)
    assert subscriber.next_event()["id"] == after
    assert after not in before


def test_no_more_comes_after_unsubscribing(stream, source, subscribe, event_type, other_type):
    subscriber = subscribe(stream, source, event_type, other_type)
    subscriber.socket.setsockopt(zmq.UNSUBSCRIBE, event_type.encode())
    source.add_event(event_type)
    event_id = source.add_event(other_type)
    assert subscriber.next_event()["id"] == event_id


def test_every_subscriber_gets_every_event(stream, source, subscribe, event_type):
    subscribers = [subscribe(stream, source, event_type) for _ in range(3)]
    while True:  # the probes for the later ones have reached the earlier ones too
        try:
            subscribers[0].next_event(timeout=0.3)
        except NoMessage:
            break
    ids = [source.add_event(event_type + "Z") for _ in range(20)]
    for subscriber in subscribers:
        received = []
        while len(received) < len(ids):
            event = subscriber.next_event()
            if event["type"] == event_type + "Z":
                received.append(event["id"])
        assert received == ids


@pytest.mark.parametrize("how", ["evt_add", "insert"])
def test_events_recorded_with_sql_are_broadcast(stream, source, subscribe, event_type, how):
    subscriber = subscribe(stream, source, event_type)
    event_id = stream.database.value(add_sql(event_type, '{"json":1}', how))
    event = subscriber.next_event()
    assert (event["id"], event["data"]) == (event_id, {"json": 1})


def test_a_slow_subscriber_is_noticed_by_nobody(stream, source, subscribe, peer, consumer, event_type):
    slow = new_socket(zmq.SUB)
    try:
        slow.setsockopt(zmq.RCVHWM, 1)
        slow.setsockopt(zmq.SUBSCRIBE, b"")
        slow.connect(stream.pusher.live)
        subscriber = subscribe(stream, source, event_type + "END")
        peer.ready(consumer, [event_type])
        stream.database.values(
            f"SELECT evt_add('{event_type}', to_json(repeat('x', 20000))) FROM generate_series(1, 2000)")
        assert len(peer.receive_events(2000)) == 2000
        event_id = source.add_event(event_type + "END")
        assert subscriber.next_event()["id"] == event_id
        assert peer.ping() == {"echo": 1}
    finally:
        slow.close(linger=0)


def test_a_subscriber_that_comes_and_goes_disturbs_nobody(stream, source, subscribe, event_type):
    staying = subscribe(stream, source, event_type)
    for _ in range(20):
        passing = Subscriber(stream.pusher.live, "")
        source.add_event(event_type)
        passing.close()
    event_id = source.add_event(event_type)
    eventually(lambda: staying.next_event()["id"] == event_id, "the last event comes through")
