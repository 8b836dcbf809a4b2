"""The pipeline under attack: one PostgreSQL with both databases, the built programs, and keys if there are to be any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from Harness.findings import Findings
from Harness.keys import Keyring
from Harness.postgres import Server, free_port
from Harness.scene import Scene
from Harness.sockets import local

CONSUMERS = ["RELIABLE", "FILTERED", "STABLE", "POLLER", "ARCHIVER"]
HOSTILE = "MALLORY"
"""The user, the component and the event type of those who attack."""

SETTINGS = {
    # What takes its time does so within a phase.
    "EVT_SESSION_TIMEOUT": "5s", "EVT_ACK_TIMEOUT": "5s", "EVT_DISCARD_POLL_PERIOD": "200ms",
    # What may fill up does so soon, and is not taken for growth.
    "EVT_WINDOW_BYTES": str(4 << 20),
}


@dataclass(frozen=True)
class Ports:
    generator: int
    pusher: int
    live: int


class World(Scene):
    """Everything that is attacked."""

    def __init__(self, directory: Path, postgres: Path, programs: Path, findings: Findings, *, with_keys: bool):
        self.active = self.warehouse = Server("postgres", directory / "postgres", postgres)
        self.ports = Ports(free_port(), free_port(), free_port())
        self.user = "good" if with_keys else "local"
        archiver = "good:ARCHIVER" if with_keys else "ARCHIVER"
        super().__init__(directory, programs, findings, {
            **SETTINGS, "EVT_DATABASE_URL": self._url("evt"), "EVT_ARCHIVE_URL": self._url("evt_archive"),
            "EVT_ARCHIVER_COMPONENT": archiver, "EVT_DISCARD_REQUIRE": archiver})
        self.keyring = Keyring(programs / "evt", directory) if with_keys else None

    def _url(self, database: str, role: str | None = None) -> str:
        return self.url([("127.0.0.1", self.active.port)], database, role)

    def create(self) -> None:
        self.active.create()
        self.active.start()
        self.create_databases()
        if self.keyring is not None:
            mallory = HOSTILE.lower()
            self.keyring.authorize(
                self.keyring.line(self.user, "gen poll push live"),
                self.keyring.line(mallory, f"gen poll push live components={HOSTILE} types={HOSTILE}"))
            # Nobody has heard of the stranger, and the impostor's is not the server's.
            for name in ("stranger", "impostor"):
                self.keyring.make(name)
        self.register(*(f"{self.user}:{name}" for name in CONSUMERS))

    def start(self) -> None:
        self.start_children([self.child(role, {
            "EVT_DATABASE_URL": self._url("evt", role), "EVT_ARCHIVE_URL": self._url("evt_archive", role),
            "EVT_PUSHER_CONNECT": local(self.ports.pusher), "EVT_GENERATOR_BIND": local(self.ports.generator),
            "EVT_PUSHER_BIND": local(self.ports.pusher), "EVT_LIVE_BIND": local(self.ports.live), **self._keys_of(role)})
            for role in ("generator", "pusher", "archiver", "discarder")])

    def _keys_of(self, role: str) -> dict[str, str]:
        if self.keyring is None:
            return {}
        return self.keyring.client_settings(self.user) if role == "archiver" else self.keyring.settings

    def log_bytes(self) -> int:
        return sum(child.log.stat().st_size for child in self.supervisor.children.values() if child.log.exists())

    def remove_strangers(self) -> int:
        """What an operator does about consumers that nobody should have registered: they keep events for ever."""
        names = ", ".join(f"'{self.user}:{name}'" for name in CONSUMERS)
        with self.active.connect("evt") as connection:
            return connection.execute(f"DELETE FROM evt_consumers WHERE ident NOT IN ({names})").rowcount

    def left(self, last: int) -> list[str]:
        # What waited in a process when the last attack ended registers consumers later.
        self.remove_strangers()
        return super().left(last)

    def stop_servers(self) -> None:
        self.active.stop()
