"""A stream with keys: what a client with the right ones may do, and what it is told with others."""

from __future__ import annotations

import threading

import pytest

from eventstream import EventStreamError, Receiver, Recorder, live, poll
from Harness import sockets
from Harness.keys import Keyring
from Harness.pipeline import Stream
from Harness.waiting import eventually


@pytest.fixture(scope="module")
def keyring(binaries, tmp_path_factory):
    keyring = Keyring(binaries / "evt", tmp_path_factory.mktemp("keys"))
    users = {"shop": "gen poll push live", "guest": "live", "local": "gen poll push live"}
    keyring.authorize(*(keyring.line(user, rights) for user, rights in users.items()))
    return keyring


@pytest.fixture(scope="module")
def stream(cluster, binaries, tmp_path_factory, keyring):
    sockets.standard_keys = keyring.keys("local")
    try:
        stream = Stream(cluster, binaries, tmp_path_factory.mktemp("stream"), keyring.settings)
        yield stream
        stream.close()
    finally:
        sockets.standard_keys = None


def test_with_keys_from_arguments_and_from_the_environment(stream, keyring, monkeypatch, event_type):
    given = keyring.client_settings("shop")
    keys = {"curve_key": given["EVT_CURVE_KEY"], "server_key": given["EVT_SERVER_KEY"]}
    with Recorder(endpoints=stream.generator.endpoint, **keys) as recorder:
        ids = [recorder.record(event_type, n) for n in range(3)]
    with Receiver("SHOP", endpoints=stream.pusher.endpoint, **keys) as receiver:
        found = []
        while len(found) < 3:
            batch = next(receiver)
            batch.confirm()
            found += [event.id for event in batch]
        assert found == ids
    for name, value in {**given, "EVT_PUSHER_CONNECT": stream.pusher.endpoint, "EVT_LIVE_CONNECT": stream.pusher.live}.items():
        monkeypatch.setenv(name, value)
    assert [event.id for event in poll("SHOP_TOO")] == ids
    listener = iter(live())
    recorder = Recorder(endpoints=stream.generator.endpoint, **keys)
    found = []
    thread = threading.Thread(target=lambda: found.append(next(listener)))
    thread.start()
    eventually(lambda: recorder.record(event_type, None) and not thread.is_alive(), "a live event")
    recorder.close()
    assert found[0].type == event_type


def test_a_user_without_the_right_is_told(stream, keyring):
    given = keyring.client_settings("guest")
    receiver = Receiver("SHOP", endpoints=stream.pusher.endpoint, curve_key=given["EVT_CURVE_KEY"], server_key=given["EVT_SERVER_KEY"])
    with pytest.raises(EventStreamError, match="Unauthorized"):
        receiver.run(print)


@pytest.mark.parametrize("user", ["stranger", None])
def test_a_key_that_is_not_authorized_or_none_is_refused_and_tried_again(stream, keyring, user):
    told = []
    given = keyring.client_settings(user) if user else {}
    keys = {"curve_key": given["EVT_CURVE_KEY"], "server_key": given["EVT_SERVER_KEY"]} if user else {}

    def on_progress(progress):
        told.append(progress)
        if len(told) == 2:
            receiver.stop()
    receiver = Receiver("SHOP", endpoints=stream.pusher.endpoint, on_progress=on_progress, **keys)
    receiver.run(print)
    assert [(each.what, each.error.code) for each in told[:2]] == [("error", "CommError")] * 2


def test_a_key_file_that_others_can_read_is_refused(keyring, tmp_path):
    given = keyring.client_settings("shop")
    copy = tmp_path / "copy"
    copy.write_text(open(given["EVT_CURVE_KEY"]).read())
    copy.chmod(0o644)
    with pytest.raises(ValueError, match="open to everyone"):
        Receiver("SHOP", endpoints="tcp://127.0.0.1:1", curve_key=copy, server_key=given["EVT_SERVER_KEY"])
