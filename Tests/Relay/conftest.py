"""What the tests of the relay share: a stream, an endpoint, and relays between the two."""

from __future__ import annotations

import itertools

import pytest

from Harness.pipeline import Stream
from Harness.processes import Process
from Harness.sockets import free_endpoint, tcp_port
from Harness.waiting import eventually
from endpoint import Endpoint

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwdvX8R8N9jL0="
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stream(request, cluster, binaries, tmp_path_factory):
    """The module's stream, with the module's SETTINGS."""
    stream = Stream(cluster, binaries, tmp_path_factory.mktemp(request.module.__name__), getattr(request.module, "SETTINGS", {}))
    yield stream
    stream.close()


@pytest.fixture
def endpoint():
    """One that takes what is signed with SECRET."""
    endpoint = Endpoint(SECRET)
    yield endpoint
    endpoint.close()
    assert endpoint.wrong == []


class Relay:
    """A relay for events of one type, which no other test records."""

    def __init__(self, stream: Stream, url: str, **settings: str):
        number = next(_numbers)
        self.stream, self.component, self.type = stream, f"RELAY{number}", "TEST_" + chr(64 + number // 26 + 1) + chr(65 + number % 26)
        self.metrics = free_endpoint().removeprefix("tcp://")
        self.settings = {
            "EVT_PUSHER_CONNECT": stream.pusher.endpoint, "EVT_RELAY_TO": url, "EVT_RELAY_COMPONENT": self.component,
            "EVT_RELAY_WANT": self.type, "EVT_RELAY_SECRET": SECRET, "EVT_RELAY_ALLOW_PRIVATE": "true",
            "EVT_METRICS_BIND": self.metrics, **settings}
        self.process: Process | None = None

    def start(self, **settings: str) -> Relay:
        self.process = self.stream.start("evt-relay", **{**self.settings, **settings})
        return self

    def record(self, *keys: str | None, poison: int | None = None, meta: str | None = None) -> list[int]:
        """Records events with these keys, in one transaction; each has its number as data."""
        values = ", ".join(
            f"""evt_add('{self.type}', '{{"n": {number}, "poison": {"true" if number == poison else "false"}}}',
                key => {f"'{key}'" if key else "NULL"}, meta => {f"'{meta}'" if meta else "NULL"})""" for number, key in enumerate(keys))
        return [int(each) for each in self.stream.database.values(f"SELECT unnest(ARRAY[{values}])")]

    def is_ready(self) -> str:
        """Nothing if it is, else why not."""
        import urllib.error
        import urllib.request
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=5):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError as error:
            return f"no answer: {error}"

    def metric(self, name: str) -> float:
        import urllib.request
        text = urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def confirmed(self, event: int) -> None:
        """Waits until the position is there."""
        eventually(lambda: self.stream.position(self.component) >= event, f"{event} is confirmed")

    def stop(self) -> None:
        if self.process is not None and self.process.is_running():
            assert self.process.stop() == 0, self.process.log_tail()


@pytest.fixture
def relay(stream, endpoint):
    """To the endpoint; a test starts it."""
    relay = Relay(stream, f"http://127.0.0.1:{endpoint.port}/hook")
    yield relay
    relay.stop()
    if relay.process is not None:
        assert SECRET not in relay.process.said() and SECRET.removeprefix("whsec_") not in relay.process.said()


@pytest.fixture
def free_port() -> int:
    return tcp_port(free_endpoint())
