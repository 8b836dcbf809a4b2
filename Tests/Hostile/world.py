"""The pipeline under attack: one PostgreSQL with both databases, the built programs, and keys if there are to be any."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import zmq.auth

from Harness.postgres import Server, free_port
from Harness.connection import Keys
from Harness.findings import Findings
from Harness.truth import ACTIVE_SQL, WAREHOUSE_SQL
from Harness.processes import Child, Supervisor, clean_environment

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


class World:
    """Everything that is attacked."""

    def __init__(self, directory: Path, postgres: Path, programs: Path, findings: Findings, *, with_keys: bool):
        self.directory, self.findings, self.with_keys = directory, findings, with_keys
        self._programs = programs
        self._server = Server("postgres", directory / "postgres", postgres)
        self.ports = Ports(free_port(), free_port(), free_port())
        self.user = "good" if with_keys else "local"
        self.url, self._archive_url = (
            f"postgresql://postgres@127.0.0.1:{self._server.port}/{name}" for name in ("evt", "evt_archive"))
        archiver = "good:ARCHIVER" if with_keys else "ARCHIVER"
        self._settings = {**SETTINGS, "EVT_DATABASE_URL": self.url, "EVT_ARCHIVE_URL": self._archive_url,
                          "EVT_ARCHIVER_COMPONENT": archiver, "EVT_DISCARD_REQUIRE": archiver}
        self.supervisor: Supervisor | None = None

    # Keys

    def _secret_file(self, name: str) -> Path:
        return self.directory / f"{name}.key_secret"

    def keys(self, name: str, server: str = "server") -> Keys:
        public, secret = zmq.auth.load_certificate(self._secret_file(name))
        return Keys(zmq.auth.load_certificate(self._secret_file(server))[0], public, secret)

    def _make_keys(self) -> None:
        # Nobody has heard of the stranger, and the impostor's is not the server's.
        for name in ("server", self.user, HOSTILE.lower(), "stranger", "impostor"):
            self.evt("keygen", name, "--directory", str(self.directory))
        good, hostile = (self.keys(name).public.decode() for name in (self.user, HOSTILE.lower()))
        (self.directory / "authorized_keys").write_text(
            f"{self.user} {good} gen poll push live\n"
            f"{HOSTILE.lower()} {hostile} gen poll push live components={HOSTILE} types={HOSTILE}\n")

    def _key_settings(self, role: str) -> dict[str, str]:
        if not self.with_keys:
            return {}
        if role == "archiver":
            return {"EVT_CURVE_KEY": str(self._secret_file(self.user)), "EVT_SERVER_KEY": self.keys("server").server.decode()}
        return {"EVT_CURVE_KEY": str(self._secret_file("server")),
                "EVT_AUTHORIZED_KEYS": str(self.directory / "authorized_keys")}

    # Start

    def create(self) -> None:
        """Makes the databases."""
        self._server.create()
        self._server.start()
        self._server.run("CREATE DATABASE evt")
        self._server.run("CREATE DATABASE evt_archive")
        self.evt("migrate")
        self._server.run(ACTIVE_SQL, "evt")
        self._server.run(WAREHOUSE_SQL, "evt_archive")
        if self.with_keys:
            self._make_keys()
        for name in CONSUMERS:
            self.evt("consumers", "register", f"{self.user}:{name}")

    def start(self) -> None:
        self.supervisor = Supervisor([self._child(role) for role in ("generator", "pusher", "archiver", "discarder")])
        self.supervisor.start()

    def _child(self, role: str) -> Child:
        settings = {**self._settings, "EVT_PUSHER_CONNECT": f"tcp://127.0.0.1:{self.ports.pusher}",
                    "EVT_GENERATOR_BIND": f"tcp://127.0.0.1:{self.ports.generator}",
                    "EVT_PUSHER_BIND": f"tcp://127.0.0.1:{self.ports.pusher}",
                    "EVT_LIVE_BIND": f"tcp://127.0.0.1:{self.ports.live}", "EVT_METRICS_BIND": "",
                    **self._key_settings(role)}
        return Child(role, [f"{self._programs}/evt-{role}"], settings, self.directory / f"{role}.log", self.findings)

    def log_bytes(self) -> int:
        return sum(child.log.stat().st_size for child in self.supervisor.children.values() if child.log.exists())

    # Use

    def evt(self, *arguments: str, check: bool = True) -> str:
        """What the operator's command prints."""
        done = subprocess.run([f"{self._programs}/evt", *arguments], env=clean_environment(self._settings), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"evt {' '.join(arguments)}: {done.stdout[-1000:]}")
        return done.stdout

    def query(self, sql: str) -> list[tuple]:
        """Rows of the active database."""
        with self._server.connect("evt") as connection:
            return connection.execute(sql).fetchall()

    def query_warehouse(self, sql: str) -> list[tuple]:
        with self._server.connect("evt_archive") as connection:
            return connection.execute(sql).fetchall()

    def remove_strangers(self) -> int:
        """What an operator does about consumers that nobody should have registered: they keep events for ever."""
        names = ", ".join(f"'{self.user}:{name}'" for name in CONSUMERS)
        with self._server.connect("evt") as connection:
            return connection.execute(f"DELETE FROM evt_consumers WHERE ident NOT IN ({names})").rowcount

    def add_last(self) -> int:
        """Records one more event, which everybody wants, and returns its id."""
        with self._server.connect("evt") as connection:
            return connection.execute("""SELECT evt_add('ALPHA', '{"k":"last"}')""").fetchone()[0]

    def close(self) -> None:
        """Whatever still runs ends."""
        if self.supervisor is not None:
            self.supervisor.kill()
        self._server.stop()
