"""The pipeline under test: databases, links between all that talk to each other, and the built programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from Harness.postgres import Pair, Server, free_port
from Harness.findings import Findings
from Harness.processes import Child, Supervisor, clean_environment
from Harness.network import Network
from Harness.truth import ACTIVE_SQL, WAREHOUSE_SQL
from operating import SQL as STEPS_SQL
from schedule import CONSUMERS

FIRST_ID = (1 << 17) - 3000
"""The stream begins here, and soon comes to its second segment."""

SETTINGS = {
    # Faults last longer than these.
    "EVT_SESSION_TIMEOUT": "2s", "EVT_ACK_TIMEOUT": "2s",
    "EVT_DISCARD_POLL_PERIOD": "200ms", "EVT_DISCARD_LIMIT": "200", "EVT_DISCARD_REQUIRE": "ARCHIVER",
}

class Deployment:
    """Everything that runs."""

    def __init__(self, directory: Path, postgres: Path, programs: Path, findings: Findings):
        self.directory, self.findings = directory, findings
        self._programs = programs
        self.active = Pair(directory, postgres)
        self.warehouse = Server("warehouse", directory / "warehouse", postgres)
        self._links: dict[str, tuple[int, int]] = {}
        self._ports = {name: free_port() for name in
                       ("generator_a", "generator_b", "pusher_a", "pusher_b", "live_a", "live_b")}
        for server in (*self.active.servers, self.warehouse):
            self._ports[server.name] = server.port
        hosts = [("127.0.0.1", server.port) for server in self.active.servers]
        self.active_url = self._active_url(hosts)
        self.supervisor: Supervisor | None = None
        self.network: Network | None = None

    # Links

    def link(self, client: str, server: str, target: str | None = None) -> int:
        """The port where the client finds the server; `target` names its port, if it has several."""
        name = f"{client}>{server}"
        if name not in self._links:
            self._links[name] = (free_port(), self._ports[target or server])
        return self._links[name][0]

    def pusher_links(self, client: str) -> list[int]:
        return [self.link(client, "pusher_a"), self.link(client, "pusher_b")]

    def _active_url(self, hosts, user: str = "postgres") -> str:
        return (f"postgresql://{user}@" + ",".join(f"{host}:{port}" for host, port in hosts)
                + "/evt?target_session_attrs=read-write&connect_timeout=2")

    def _warehouse_url(self, port: int, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{port}/evt_archive"

    # Start

    def create(self) -> None:
        """Makes the databases."""
        self.active.create()
        self.warehouse.create()
        self.warehouse.start()
        self.active.primary.run("CREATE DATABASE evt")
        self.warehouse.run("CREATE DATABASE evt_archive")
        self.evt("migrate", "--roles")
        # Each process may do no more than it needs.
        for role in ("generator", "pusher", "discarder"):
            self.active.primary.run(f"CREATE ROLE chaos_{role} LOGIN IN ROLE evt_{role}")
        for role in ("archiver", "discarder"):
            self.warehouse.run(f"CREATE ROLE chaos_{role} LOGIN IN ROLE evt_{role}")
        self.active.primary.run(ACTIVE_SQL, "evt")
        self.active.primary.run(f"SELECT setval('evt_queue_id_seq', {FIRST_ID})", "evt")
        self.active.primary.run(STEPS_SQL, "evt")
        self.warehouse.run(WAREHOUSE_SQL, "evt_archive")
        for consumer in CONSUMERS:
            self.evt("consumers", "register", consumer)
        self.active.add_standby()

    def start(self, tail_output) -> None:
        """Starts the processes, and the network between them."""
        children = [self._child(name, tail_output) for name in (
            "generator_a", "generator_b", "pusher_a", "pusher_b", "archiver_a", "archiver_b", "discarder", "tail")]
        self.network = Network(self._links, self.directory / "proxy.log")
        self.supervisor = Supervisor(children)
        self.supervisor.start()

    def _child(self, name: str, tail_output) -> Child:
        settings = dict(SETTINGS)
        role = name.split("_")[0]
        if role in ("generator", "pusher", "discarder"):
            settings["EVT_DATABASE_URL"] = self._active_url(
                [("127.0.0.1", self.link(name, server.name)) for server in self.active.servers], f"chaos_{role}")
        if role in ("archiver", "discarder"):
            settings["EVT_ARCHIVE_URL"] = self._warehouse_url(self.link(name, "warehouse"), f"chaos_{role}")
        if role in ("archiver", "tail"):
            settings["EVT_PUSHER_CONNECT"] = ",".join(f"tcp://127.0.0.1:{port}" for port in self.pusher_links(name))
        if role in ("generator", "pusher"):
            settings[f"EVT_{role.upper()}_BIND"] = f"tcp://127.0.0.1:{self._ports[name]}"
        if role == "pusher":
            settings["EVT_LIVE_BIND"] = f"tcp://127.0.0.1:{self._ports[name.replace('pusher', 'live')]}"
        settings["EVT_METRICS_BIND"] = ""
        command = [f"{self._programs}/evt-{role}"]
        if role == "tail":
            command = [f"{self._programs}/evt", "tail", "--component", "TAIL"]
        return Child(name, command, settings, self.directory / f"{name}.log", self.findings,
                     output=tail_output if role == "tail" else None, stops_cleanly=role != "tail")

    def evt(self, *arguments: str, check: bool = True) -> str:
        """What the operator's command prints."""
        settings = {**SETTINGS, "EVT_DATABASE_URL": self.active_url, "EVT_ARCHIVE_URL": self._warehouse_url(self.warehouse.port)}
        done = subprocess.run([f"{self._programs}/evt", *arguments], env=clean_environment(settings), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"evt {' '.join(arguments)}: {done.stdout[-1000:]}")
        return done.stdout

    def query(self, sql: str) -> list[tuple]:
        """Rows of the active database."""
        with self.active.primary.connect("evt") as connection:
            return connection.execute(sql).fetchall()

    def query_warehouse(self, sql: str) -> list[tuple]:
        with self.warehouse.connect("evt_archive") as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        """Whatever still runs ends."""
        if self.supervisor is not None:
            self.supervisor.kill()
        if self.network is not None:
            self.network.close()
        self.active.stop()
        self.warehouse.stop()
