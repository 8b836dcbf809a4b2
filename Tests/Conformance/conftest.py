"""Fixtures of the conformance tests.

Each module has one stream (database, generator, pusher); its tests keep apart by using event types and
components of their own. A module that needs other settings than the defaults names them in SETTINGS. One about keys
names users and their rights in USERS, and connects as one of them. With EVT_TEST_KEYS=1 all others have keys as well,
and every peer is the user `local`, but for modules that say PLAIN; those that would be the same are left out.
"""

from __future__ import annotations

import itertools
import os
import tempfile

import pytest

from Harness import sockets
from Harness.keys import Keyring
from Harness.pipeline import Stream
from Harness.waiting import eventually
from Harness.wire import Caller, Peer, Subscriber

_numbers = itertools.count(1)
_streams: list[Stream] = []
_with_keys = bool(os.environ.get("EVT_TEST_KEYS"))


def pytest_collection_modifyitems(config, items) -> None:
    if _with_keys:
        same = [item for item in items if hasattr(item.module, "USERS") or getattr(item.module, "PLAIN", False)]
        config.hook.pytest_deselected(items=same)
        items[:] = [item for item in items if item not in set(same)]


@pytest.fixture(scope="module")
def stream(request, cluster, binaries, tmp_path_factory):
    """The module's stream, with the module's SETTINGS."""
    logs = tmp_path_factory.mktemp(request.module.__name__)
    settings = getattr(request.module, "SETTINGS", {})
    if _with_keys or hasattr(request.module, "USERS"):
        keyring = request.getfixturevalue("keyring")
        settings, sockets.standard_keys = {**keyring.settings, **settings}, keyring.keys("local")
    try:
        stream = Stream(cluster, binaries, logs, settings)
        _streams.append(stream)
        yield stream
        _streams.remove(stream)
        stream.close()
    finally:
        sockets.standard_keys = None


@pytest.fixture(scope="module")
def keyring(request, binaries, tmp_path_factory):
    """The module's USERS with their keys; `local`, who is everybody that is not said to be another, may do everything."""
    keyring = Keyring(binaries / "evt", tmp_path_factory.mktemp("keys"))
    users = {"local": "gen poll push live", **getattr(request.module, "USERS", {})}
    keyring.authorize(*(keyring.line(user, rights) for user, rights in users.items()))
    return keyring


@pytest.fixture(autouse=True)
def alive(request):
    """Whatever a test does, no process may end by itself: fails the test that made it, and those after it."""
    if "stream" not in request.fixturenames:
        yield
        return
    stream = request.getfixturevalue("stream")
    stream.check_alive("before this test")
    yield
    stream.check_alive("during this test")


@pytest.fixture
def opened():
    """Things to close when the test ends."""
    things: list = []
    yield things
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def connect(opened):
    """Connects a new peer: `connect(endpoint, **options)`."""
    def connect(endpoint: str, **options) -> Peer:
        opened.append(Peer(endpoint, **options))
        return opened[-1]
    return connect


@pytest.fixture
def join(stream, keyring, connect):
    """Connects as a user: to the pusher, or to another endpoint."""
    def connect_as(user: str, to: str | None = None, **options) -> Peer:
        return connect(to or stream.pusher.endpoint, keys=keyring.keys(user), **options)
    return connect_as


@pytest.fixture
def listen(stream, keyring, opened):
    """Connects a SUB socket as a user."""
    def connect_as(user: str, *prefixes: str, to: str | None = None) -> Subscriber:
        opened.append(Subscriber(to or stream.pusher.live, *prefixes, keys=keyring.keys(user)))
        return opened[-1]
    return connect_as


@pytest.fixture
def second(stream):
    """Another pusher on the same database, which the test may stop."""
    pusher = stream.start_pusher()
    yield pusher
    if pusher.process.is_running():
        assert pusher.process.stop() == 0


@pytest.fixture
def elsewhere(second, connect) -> Peer:
    """A peer of the other pusher."""
    return connect(second.endpoint)


@pytest.fixture
def connect_req(opened):
    """Connects a new REQ socket."""
    def connect(endpoint: str) -> Caller:
        opened.append(Caller(endpoint))
        return opened[-1]
    return connect


@pytest.fixture
def subscribe(opened):
    """Connects a new SUB socket, and waits until the pusher knows what it wants.

    `subscribe(stream, source, prefix, ...)`: for each prefix, events of the type `<prefix>PROBE` are recorded
    until one comes through.
    """
    def subscribe(stream: Stream, source: Peer, *prefixes: str, endpoint: str | None = None) -> Subscriber:
        subscriber = Subscriber(endpoint or stream.pusher.live, *prefixes)
        opened.append(subscriber)
        for prefix in prefixes:
            probes: list[str] = []

            def comes_through() -> bool:
                probes.append(source.add_event(f"{prefix}PROBE"))
                return bool(subscriber.socket.poll(200))
            eventually(comes_through, "the subscription", every=0)
            while subscriber.next_event()["id"] != probes[-1]:
                pass
        return subscriber
    return subscribe


@pytest.fixture
def sql(stream, opened):
    """Opens a database session: `sql()`."""
    def open_session():
        opened.append(stream.database.open_session())
        return opened[-1]
    return open_session


@pytest.fixture(params=["generator", "pusher"])
def endpoint(request, stream) -> str:
    """Runs the test once on each process's ROUTER."""
    return getattr(stream, request.param).endpoint


@pytest.fixture
def source(stream, connect) -> Peer:
    """A peer of the generator."""
    return connect(stream.generator.endpoint)


@pytest.fixture
def peer(stream, connect) -> Peer:
    """A peer of the pusher."""
    return connect(stream.pusher.endpoint)


@pytest.fixture
def rival(stream, connect) -> Peer:
    """Another peer of the pusher."""
    return connect(stream.pusher.endpoint)


def _letters(number: int) -> str:
    return "".join(chr(ord("A") + int(digit)) for digit in str(number))


@pytest.fixture
def event_type() -> str:
    """An event type that no other test uses."""
    return f"T_{_letters(next(_numbers))}_"


@pytest.fixture
def other_type() -> str:
    """One more event type that no other test uses."""
    return f"U_{_letters(next(_numbers))}_"


@pytest.fixture
def component() -> str:
    """A component that no other test uses."""
    return f"c_{next(_numbers)}"


@pytest.fixture
def consumer(peer, component) -> str:
    """A component that is registered."""
    peer.register(component)
    return component


@pytest.fixture(params=["registered", "LIVE"])
def either(request, peer, component) -> str:
    """Runs the test once with a registered component, and once with LIVE."""
    if request.param == "LIVE":
        return "LIVE"
    peer.register(component)
    return component


@pytest.fixture(scope="module")
def ipc_directory():
    """A directory with a name short enough for ipc endpoints."""
    with tempfile.TemporaryDirectory(prefix="evt") as directory:
        yield directory


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of the processes' logs with a failed test."""
    report = (yield).get_result()
    if report.failed and _streams:
        report.sections.append(("processes", _streams[-1].log_tails()))
