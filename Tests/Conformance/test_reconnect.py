"""Coming back over a new connection under the same routing id (section 5)."""

import pytest

from Harness.expect import comes_next, separate_groups
from Harness.waiting import eventually
from Harness.wire import Peer

SETTINGS = {"EVT_ACK_TIMEOUT": "3s"}
"""What was in flight is sent again, also to who does not ask."""


def come_back(connect, endpoint: str, routing_id: bytes) -> Peer:
    """Connects under the same routing id, as soon as the server has let go of the old connection."""
    def attempt() -> Peer | None:
        peer = connect(endpoint, routing_id=routing_id)
        return peer if peer.is_served(2) else peer.close()
    return eventually(attempt, "it is let in again", every=0)


def test_a_stable_routing_id_keeps_the_session_over_a_reconnect(stream, source, connect, component, event_type):
    first = connect(stream.pusher.endpoint, routing_id=b"stable-1")
    first.register(component)
    first.ready(component, [event_type])
    first.accept(separate_groups(source, first, event_type, 1)[0])
    first.ping()
    first.close()
    second = come_back(connect, stream.pusher.endpoint, b"stable-1")
    comes_next(source, second, event_type, seq=1)


@pytest.mark.parametrize("asks_again", [False, True], ids=["with a ping", "with readyToReceive"])
def test_a_group_in_flight_over_a_reconnect_is_not_lost(
        stream, source, connect, component, event_type, asks_again):
    routing_id = b"stable-" + component.encode()
    first = connect(stream.pusher.endpoint, routing_id=routing_id)
    first.register(component)
    first.ready(component, [event_type])
    [group] = separate_groups(source, first, event_type, 1)
    first.close()
    second = come_back(connect, stream.pusher.endpoint, routing_id)
    if asks_again:
        assert second.ready(component, [event_type]) is True
    again = second.next_group()
    assert (again.seq, again.events) == (0, group.events)
    second.accept(again)

    def stored() -> bool:
        for repeated in second.groups_within(0.05):
            second.accept(repeated)
        return stream.position(component) >= group.ids[-1]

    eventually(stored, "the position is stored")
