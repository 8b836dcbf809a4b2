"""What a paused consumer gets (section 5)."""

from Harness.expect import refused
from Harness.waiting import eventually

# Pushers learn of a pause with a sign of life, five in this time.
SETTINGS = {"EVT_SESSION_TIMEOUT": "10s"}


def test_a_paused_consumer_gets_nothing_until_it_is_resumed(stream, source, peer, consumer, event_type):
    def pause(is_paused: bool):
        stream.database.value(
            f"UPDATE evt_consumers SET paused = {is_paused} WHERE ident = 'local:{consumer}' RETURNING 1")

    pause(True)
    assert peer.ready(consumer, [event_type]) is True
    event_id = source.add_event(event_type)
    with refused("ConsumerPaused"):
        peer.poll(consumer)
    eventually(lambda: peer.lag(consumer).get("paused") is True, "lag says so")
    assert peer.ready(consumer, [event_type]) is True
    pause(False)
    assert peer.receive_until(event_id) == [event_id]
    eventually(lambda: "paused" not in peer.lag(consumer), "lag does not say so")
