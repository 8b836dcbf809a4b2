"""Where the processes listen: several endpoints, tcp and ipc, a socket turned off (section 1)."""

import pytest

from Harness.expect import comes_next, ready_when_free, refused, separate_groups
from Harness.sockets import free_endpoint
from Harness.wire import Peer


@pytest.fixture(scope="module")
def many(stream, ipc_directory):
    """A generator and a pusher with two tcp endpoints and an ipc endpoint for each socket."""
    binds = {name: [free_endpoint(), f"ipc://{ipc_directory}/{name}", free_endpoint()]
             for name in ("generator", "pusher", "live")}
    generator = stream.start_generator(EVT_GENERATOR_BIND=",".join(binds["generator"]))
    pusher = stream.start_pusher(EVT_PUSHER_BIND=",".join(binds["pusher"]), EVT_LIVE_BIND=",".join(binds["live"]))
    yield binds
    assert [server.process.stop() for server in (generator, pusher)] == [0, 0]


@pytest.mark.parametrize("index", [0, 1, 2], ids=["first tcp", "ipc", "second tcp"])
def test_every_endpoint_serves(many, stream, connect, subscribe, component, event_type, index):
    source, receiver = connect(many["generator"][index]), connect(many["pusher"][index])
    subscriber = subscribe(stream, source, event_type, endpoint=many["live"][index])
    receiver.register(component)
    receiver.ready(component, [event_type + "X"])
    event_id = comes_next(source, receiver, event_type + "X", index)
    assert subscriber.next_event()["id"] == str(event_id)


def test_one_session_per_consumer_holds_across_endpoints(many, source, connect, component, event_type):
    over_tcp, over_ipc = connect(many["pusher"][0]), connect(many["pusher"][1])
    over_tcp.register(component)
    over_tcp.ready(component, [event_type])
    with refused("ConsumerBusy"):
        over_ipc.ready(component, [event_type])
    over_tcp.stop(component)
    ready_when_free(over_ipc, component, [event_type])
    separate_groups(source, over_ipc, event_type, 2)


def test_a_closed_ipc_connection_lets_another_peer_in_at_once(many, source, connect, component, event_type):
    first = Peer(many["pusher"][1])
    try:
        first.register(component)
        first.ready(component, [event_type])
        [group] = separate_groups(source, first, event_type, 1)
    finally:
        first.close()
    second = connect(many["pusher"][1])
    ready_when_free(second, component, [event_type])
    again = second.next_group()
    assert (again.seq, again.events) == (0, group.events)


def test_a_pusher_without_broadcast_serves_its_peers(stream, source, connect, component, event_type):
    pusher = stream.start_pusher(EVT_LIVE_BIND="")
    receiver = connect(pusher.endpoint)
    receiver.register(component)
    receiver.ready(component, [event_type])
    comes_next(source, receiver, event_type)
    assert pusher.process.stop() == 0


def test_a_pusher_with_nothing_but_broadcast_serves_its_subscribers(stream, source, subscribe, event_type):
    pusher = stream.start_pusher(EVT_PUSHER_BIND="")
    subscriber = subscribe(stream, source, event_type, endpoint=pusher.live)
    event_id = source.add_event(event_type, "alone")
    assert subscriber.next_event()["id"] == event_id
    assert pusher.process.stop() == 0


def test_the_broadcast_of_every_pusher_has_every_event(stream, source, subscribe, event_type):
    second = stream.start_pusher()
    here = subscribe(stream, source, event_type + "H")
    there = subscribe(stream, source, event_type + "T", endpoint=second.live)
    here_id, there_id = source.add_event(event_type + "H"), source.add_event(event_type + "T")
    assert (here.next_event()["id"], there.next_event()["id"]) == (here_id, there_id)
    assert second.process.stop() == 0
