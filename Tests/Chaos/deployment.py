"""The pipeline under test: two of most, an active database that fails over, and links between all that talk to each other."""

from __future__ import annotations

from pathlib import Path

from Harness.findings import Findings
from Harness.network import Network
from Harness.postgres import Pair, Server, free_port
from Harness.processes import Child
from Harness.scene import Scene
from Harness.sockets import local
from schedule import CONSUMERS, PROCESSES

FIRST_ID = (1 << 17) - 3000
"""The stream begins here, and soon comes to its second segment."""

SETTINGS = {
    # Faults last longer than these.
    "EVT_SESSION_TIMEOUT": "2s", "EVT_ACK_TIMEOUT": "2s",
    "EVT_DISCARD_POLL_PERIOD": "200ms", "EVT_DISCARD_LIMIT": "200", "EVT_DISCARD_REQUIRE": "ARCHIVER",
}


class Deployment(Scene):
    """Everything that runs."""

    def __init__(self, directory: Path, postgres: Path, programs: Path, findings: Findings):
        self.pair = Pair(directory, postgres)
        self.warehouse = Server("warehouse", directory / "warehouse", postgres)
        self._links: dict[str, tuple[int, int]] = {}
        self._ports = {name: free_port() for name in
                       ("generator_a", "generator_b", "pusher_a", "pusher_b", "live_a", "live_b")}
        for server in (*self.pair.servers, self.warehouse):
            self._ports[server.name] = server.port
        self.active_url = self._active_url([server.port for server in self.pair.servers])
        self.network: Network | None = None
        super().__init__(directory, programs, findings, {
            **SETTINGS, "EVT_DATABASE_URL": self.active_url,
            "EVT_ARCHIVE_URL": self.url([("127.0.0.1", self.warehouse.port)], "evt_archive")})

    @property
    def active(self) -> Server:
        return self.pair.primary

    # Links

    def link(self, client: str, server: str, target: str | None = None) -> int:
        """The port where the client finds the server; `target` names its port, if it has several."""
        name = f"{client}>{server}"
        if name not in self._links:
            self._links[name] = (free_port(), self._ports[target or server])
        return self._links[name][0]

    def pusher_links(self, client: str) -> list[int]:
        return [self.link(client, "pusher_a"), self.link(client, "pusher_b")]

    def _active_url(self, ports: list[int], role: str | None = None) -> str:
        return self.url([("127.0.0.1", port) for port in ports], "evt", role, "?target_session_attrs=read-write&connect_timeout=2")

    # Start

    def create(self) -> None:
        self.pair.create()
        self.warehouse.create()
        self.warehouse.start()
        self.create_databases()
        self.active.run(f"SELECT setval('evt_queue_id_seq', {FIRST_ID})", "evt")
        self.active.run_file(Path(__file__).with_name("steps.sql"), "evt")
        self.register(*CONSUMERS)
        self.pair.add_standby()

    def start(self, tail_output) -> None:
        """Starts the processes, and the network between them."""
        children = [self._process(name, tail_output) for name in PROCESSES]
        self.network = Network(self._links, self.directory / "proxy.log")
        self.start_children(children)

    def _process(self, name: str, tail_output) -> Child:
        role = name.split("_")[0]
        settings = {
            # Each has those of these that it uses.
            "EVT_DATABASE_URL": self._active_url([self.link(name, server.name) for server in self.pair.servers], role),
            "EVT_ARCHIVE_URL": self.url([("127.0.0.1", self.link(name, "warehouse"))], "evt_archive", role),
            "EVT_PUSHER_CONNECT": ",".join(map(local, self.pusher_links(name))),
        }
        if role in ("generator", "pusher"):
            settings[f"EVT_{role.upper()}_BIND"] = local(self._ports[name])
        if role == "pusher":
            settings["EVT_LIVE_BIND"] = local(self._ports[name.replace("pusher", "live")])
        if role == "tail":
            command = [self.programs / "evt", "tail", "--component", "TAIL"]
            return self.child(name, settings, command, output=tail_output, stops_cleanly=False)
        return self.child(name, settings)

    def stop_servers(self) -> None:
        if self.network is not None:
            self.network.close()
        self.pair.stop()
        self.warehouse.stop()
