"""Which interface is served where, in which versions, and the names of the refusals (sections 1, 2, 4)."""

import pytest

from Harness.expect import comes_next, refused

SERVED = [
    ("generator", "futoin.evt.gen", "1.0"),
    ("generator", "futoin.evt.gen", "1.1"),
    ("generator", "futoin.ping", "1.0"),
    ("pusher", "futoin.evt.poll", "1.0"),
    ("pusher", "futoin.evt.poll", "1.1"),
    ("pusher", "futoin.evt.push", "1.0"),
    ("pusher", "futoin.evt.push", "1.1"),
    ("pusher", "futoin.ping", "1.0"),
]
INTERFACES = sorted({(process, interface) for process, interface, _ in SERVED})


@pytest.fixture
def at(stream, connect):
    """Connects to a process by name."""
    return lambda process: connect(getattr(stream, process).endpoint)


@pytest.mark.parametrize("process, interface, version", SERVED)
def test_every_interface_answers_ping(at, process, interface, version):
    assert at(process).call(f"{interface}:{version}:ping", echo=12345) == {"echo": 12345}


@pytest.mark.parametrize("echo", [0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_ping_echoes_any_integer(endpoint, connect, echo):
    assert connect(endpoint).ping(echo) == {"echo": echo}


@pytest.mark.parametrize("params", [{}, {"echo": None}, {"echo": "1"}, {"echo": 1.5}, {"echo": True}, {"echo": [1]}],
                         ids=repr)
def test_ping_wants_an_integer(endpoint, connect, params):
    peer = connect(endpoint)
    assert peer.answer(peer.request("futoin.ping:1.0:ping", params)).error == "InvalidRequest"


@pytest.mark.parametrize("interface", [
    "futoin.evt.nothing", "futoin.evt", "futoin", "futoin.pings", "futoin.evt.gen2", "org.example.ping"])
def test_an_interface_that_does_not_exist_is_unknown(endpoint, connect, interface):
    with refused("UnknownInterface"):
        connect(endpoint).call(f"{interface}:1.0:ping", echo=1)


@pytest.mark.parametrize("process, function", [
    ("generator", "futoin.evt.poll:1.1:pollEvents"),
    ("generator", "futoin.evt.poll:1.1:registerConsumer"),
    ("generator", "futoin.evt.push:1.1:readyToReceive"),
    ("pusher", "futoin.evt.gen:1.1:addEvent"),
    ("pusher", "futoin.evt.gen:1.0:ping"),
])
def test_an_interface_of_the_other_process_is_unknown(at, process, function):
    with refused("UnknownInterface"):
        at(process).call(function, component="c", type="T", data=None)


def test_the_receiver_interface_is_called_by_the_pusher_and_not_served(endpoint, connect):
    with refused("UnknownInterface"):
        connect(endpoint).call("futoin.evt.receiver:1.1:onEvents", seq=0, events=[])


@pytest.mark.parametrize("process, interface", INTERFACES)
@pytest.mark.parametrize("version", ["1.2", "1.10", "1.99", "2.0", "2.1", "0.9", "0.0", "11.0"])
def test_another_minor_or_major_version_is_not_supported(at, process, interface, version):
    with refused("NotSupportedVersion"):
        at(process).call(f"{interface}:{version}:ping", echo=1)


def test_ping_has_one_version_only(endpoint, connect):
    with refused("NotSupportedVersion"):
        connect(endpoint).call("futoin.ping:1.1:ping", echo=1)


@pytest.mark.parametrize("process, interface, version", SERVED)
@pytest.mark.parametrize("function", ["nothing", "Ping", "addevent"])
def test_a_function_that_does_not_exist_is_not_implemented(at, process, interface, version, function):
    with refused("NotImplemented"):
        at(process).call(f"{interface}:{version}:{function}", echo=1)


@pytest.mark.parametrize("function", [
    "futoin.evt.poll:1.1:readyToReceive", "futoin.evt.poll:1.1:stopReceiving", "futoin.evt.poll:1.1:addEvent",
    "futoin.ping:1.0:pollEvents", "futoin.ping:1.0:registerConsumer"])
def test_a_function_belongs_to_its_interface(peer, function):
    with refused("NotImplemented"):
        peer.call(function, component="c")


def test_version_1_0_records_and_fetches_events(source, peer, component, event_type):
    assert peer.call("futoin.evt.poll:1.0:registerConsumer", component=component) is True
    event_id = source.call("futoin.evt.gen:1.0:addEvent", type=event_type, data=[1])
    events = peer.call("futoin.evt.poll:1.0:pollEvents", component=component, last_id=None, want=[event_type])
    assert [(event["id"], event["data"]) for event in events] == [(event_id, [1])]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_push_inherits_the_functions_of_poll(source, peer, component, event_type, version):
    push = f"futoin.evt.push:{version}"
    assert peer.call(f"{push}:registerConsumer", component=component) is True
    event_id = source.add_event(event_type)
    events = peer.call(f"{push}:pollEvents", component=component, last_id=None, want=[event_type])
    assert [event["id"] for event in events] == [event_id]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_session_can_be_asked_for_in_either_version(source, peer, either, event_type, version):
    assert peer.call(f"futoin.evt.push:{version}:readyToReceive", component=either, want=[event_type]) is True
    comes_next(source, peer, event_type)
