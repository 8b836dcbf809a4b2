"""Fixtures of the conformance tests.

Run them with etc/test, which starts a PostgreSQL cluster of its own and sets
  EVT_TEST_POSTGRES  a superuser's connection string (libpq URI or keywords), and
  EVT_TEST_BIN       the directory of the built programs.

Each module has one stream (database, generator, pusher); its tests keep apart by using event types and
components of their own. A module that needs other settings than the defaults names them in SETTINGS. One about keys
names users and their rights in USERS, and connects as one of them. With EVT_TEST_KEYS=1 all others have keys as well,
and every peer is the user `local`, but for modules that say PLAIN.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path

import pytest

pytest.register_assert_rewrite("Harness", "verbatim")

from Harness.database import Cluster
from Harness import wire
from Harness.keys import Keyring
from Harness.pipeline import Stream
from Harness.wire import Caller, Peer, Subscriber

_numbers = itertools.count(1)
_streams: list[Stream] = []


def _given(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        pytest.exit(f"{variable} is not set: run these tests with etc/test", returncode=2)
    return value


@pytest.fixture(scope="session")
def cluster():
    """The PostgreSQL cluster for the tests."""
    cluster = Cluster(_given("EVT_TEST_POSTGRES"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The directory of the built programs."""
    directory = Path(_given("EVT_TEST_BIN"))
    for name in ("evt", "evt-generator", "evt-pusher"):
        if not (directory / name).exists():
            pytest.exit(f"no {name} in EVT_TEST_BIN={directory}: run these tests with etc/test", returncode=2)
    return directory


@pytest.fixture(scope="module")
def stream(request, cluster, binaries, tmp_path_factory):
    """The module's stream, with the module's SETTINGS."""
    logs = tmp_path_factory.mktemp(request.module.__name__)
    settings = getattr(request.module, "SETTINGS", {})
    keys = None
    if hasattr(request.module, "USERS"):
        keyring = request.getfixturevalue("keyring")
        settings, keys = {**keyring.settings, **settings}, keyring.keys("local")
    elif os.environ.get("EVT_TEST_KEYS") and not getattr(request.module, "PLAIN", False):
        keyring = Keyring(binaries / "evt", logs / "keys")
        keyring.authorize(keyring.line("local", "gen poll push live"))
        settings, wire.standard_keys = {**keyring.settings, **settings}, keyring.keys("local")
    try:
        stream = Stream(cluster, binaries, logs, settings, keys)
        _streams.append(stream)
        yield stream
        _streams.remove(stream)
        stream.close()
    finally:
        wire.standard_keys = None


@pytest.fixture(scope="module")
def keyring(request, binaries, tmp_path_factory):
    """The module's USERS with their keys; `local` may do everything."""
    keyring = Keyring(binaries / "evt", tmp_path_factory.mktemp("keys"))
    users = {"local": "gen poll push live", **request.module.USERS}
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
            deadline = time.monotonic() + wire.PATIENCE
            while True:
                probe = source.add_event(f"{prefix}PROBE")
                if subscriber.socket.poll(200) or time.monotonic() > deadline:
                    break
            while subscriber.next_event()["id"] != probe:
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
