"""registerConsumer, and what a component may be called (sections 3 and 4)."""

import pytest

from Harness.expect import comes_next, refused
from Harness.waiting import eventually
from Harness.wire import POLL, PUSH

COMPONENTS = ["a", "Z", "0", "_", "mailer", "A_1", "x" * 16]
NOT_COMPONENTS = ["", "x" * 17, "a-b", "a b", "a.b", "a:b", "\u00e9", "a\n", "'", "a\u0000", None, 1, True, ["a"], {}]


@pytest.mark.parametrize("interface", [POLL, PUSH])
def test_registering_answers_true_and_is_idempotent(stream, peer, component, interface):
    for _ in range(3):
        assert peer.call(f"{interface}:registerConsumer", component=component) is True
    assert stream.database.value(
        f"SELECT count(*) FROM evt_consumers WHERE ident = 'local:{component}'") == "1"


def test_registering_again_keeps_the_position(stream, source, peer, consumer, event_type):
    first, second = source.add_event(event_type), source.add_event(event_type)
    peer.poll(consumer, last_id=first)
    eventually(lambda: stream.position(consumer) >= int(first), "the position is stored")
    peer.register(consumer)
    assert [event["id"] for event in peer.poll(consumer, want=[event_type])] == [second]


def test_the_interfaces_share_their_consumers(source, peer, component, event_type):
    peer.call("futoin.evt.poll:1.0:registerConsumer", component=component)
    event_id = source.add_event(event_type)
    assert [event["id"] for event in peer.poll(component, want=[event_type])] == [event_id]
    assert peer.ready(component, [event_type]) is True
    assert peer.receive_until(event_id) == [event_id]


def test_a_consumer_belongs_to_the_user_and_not_to_the_connection(stream, source, connect, consumer, event_type):
    event_id = source.add_event(event_type)
    another = connect(stream.pusher.endpoint)
    assert [event["id"] for event in another.poll(consumer, want=[event_type])] == [event_id]


@pytest.mark.parametrize("component", COMPONENTS)
def test_components_of_1_to_16_letters_digits_and_underscores_can_be_registered(peer, component):
    assert peer.register(component) is True


@pytest.mark.parametrize("component", NOT_COMPONENTS, ids=repr)
@pytest.mark.parametrize("function", [
    f"{POLL}:registerConsumer", f"{PUSH}:registerConsumer", f"{POLL}:pollEvents", f"{PUSH}:pollEvents",
    f"{PUSH}:readyToReceive", f"{PUSH}:stopReceiving"])
def test_any_other_component_is_refused(peer, function, component):
    with refused("InvalidRequest"):
        peer.call(function, component=component)


@pytest.mark.parametrize("function", [
    f"{POLL}:registerConsumer", f"{POLL}:pollEvents", f"{PUSH}:readyToReceive", f"{PUSH}:stopReceiving"])
def test_the_component_must_be_present(peer, function):
    with refused("InvalidRequest"):
        peer.call(function)


@pytest.mark.parametrize("interface", [POLL, PUSH])
def test_live_cannot_be_registered(stream, peer, interface):
    with refused("LiveNotAllowed"):
        peer.call(f"{interface}:registerConsumer", component="LIVE")
    assert stream.database.value("SELECT count(*) FROM evt_consumers WHERE ident LIKE '%LIVE%'") == "0"


def test_an_unknown_consumer_can_neither_poll_nor_have_a_session(peer, component):
    for call in (peer.poll, peer.ready):
        with refused("NotRegistered"):
            call(component)


def test_a_consumer_can_start_once_it_is_registered(source, peer, component, event_type):
    with refused("NotRegistered"):
        peer.ready(component, [event_type])
    peer.register(component)
    assert peer.ready(component, [event_type]) is True
    comes_next(source, peer, event_type)
