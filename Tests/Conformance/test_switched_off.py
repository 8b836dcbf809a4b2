"""Uses that the configuration switches off are refused with SecurityError (section 2)."""

import pytest

from Harness.expect import comes_next, refused


@pytest.fixture(scope="module")
def pushers(stream):
    """A pusher that offers no reliable delivery, and one that offers no polling."""
    return {name: stream.start_pusher(**{f"EVT_ALLOW_{name}": "false"}, EVT_LIVE_BIND="")
            for name in ("RELIABLE", "POLLING")}


@pytest.fixture
def without_reliable(pushers, connect):
    return connect(pushers["RELIABLE"].endpoint)


@pytest.fixture
def without_polling(pushers, connect):
    return connect(pushers["POLLING"].endpoint)


def test_without_reliable_delivery_nobody_can_register(without_reliable, component):
    with refused("SecurityError"):
        without_reliable.register(component)


def test_without_reliable_delivery_a_registered_consumer_is_refused(without_reliable, consumer):
    with refused("SecurityError"):
        without_reliable.ready(consumer)
    with refused("SecurityError"):
        without_reliable.poll(consumer)


def test_without_reliable_delivery_live_still_works(without_reliable, source, event_type):
    first = source.add_event(event_type)
    assert [event["id"] for event in without_reliable.poll("LIVE", want=[event_type])] == [first]
    without_reliable.ready("LIVE", [event_type])
    second = source.add_event(event_type)
    assert [event["id"] for event in without_reliable.receive_events(1)] == [second]


@pytest.mark.parametrize("interface", ["futoin.evt.poll:1.1", "futoin.evt.push:1.1", "futoin.evt.poll:1.0"])
def test_without_polling_nobody_can_poll(without_polling, either, interface):
    with refused("SecurityError"):
        without_polling.call(f"{interface}:pollEvents", component=either, last_id=None, want=None)


def test_without_polling_sessions_still_work(without_polling, source, component, event_type):
    without_polling.register(component)
    without_polling.ready(component, [event_type])
    comes_next(source, without_polling, event_type)


def test_ping_is_never_switched_off(without_reliable, without_polling):
    assert without_reliable.ping() == {"echo": 1}
    assert without_polling.ping() == {"echo": 1}
