"""Pipelines of the built programs: a database, the processes that serve it, and what settings and roles each of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from Harness.database import Cluster
from Harness.processes import Process, run
from Harness.sockets import free_endpoint
from Harness.waiting import eventually
from Harness.wire import Peer

DEFAULTS = {
    "EVT_ACK_TIMEOUT": "300s",
    "EVT_SESSION_TIMEOUT": "900s",
    "EVT_MAX_CHUNK_EVENTS": "100",
    "EVT_REQUEST_MAX": "4",
    "EVT_QUEUE_MAX": "10000",
    "EVT_MAX_REQUEST_BYTES": "65536",
    "EVT_ALLOW_RELIABLE": "true",
    "EVT_ALLOW_POLLING": "true",
    "EVT_LOG_LEVEL": "info",
}
"""The protocol's defaults, but for times longer than any test takes: only the tests about them want them to end."""

ROLES = ("generator", "pusher", "archiver", "discarder")


def login(role: str) -> str:
    """Who logs in for this process; it may do no more than the process needs."""
    return f"evt_test_{role}"


LOGINS = "DO $$ BEGIN\n" + "\n".join(
    f"""IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'evt_{role}') AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{login(role)}')
    THEN CREATE ROLE {login(role)} LOGIN IN ROLE evt_{role}; END IF;""" for role in ROLES) + "\nEND $$"
"""Makes the logins on a server where `evt migrate --roles` was run."""


class Pipeline:
    """The programs, and the settings that all of them have."""

    def __init__(self, programs: Path, directory: Path, settings: dict[str, str]):
        self.programs, self.directory = programs, directory
        # A port in the settings of all would be that of one process.
        self.settings = {"EVT_METRICS_BIND": "", **settings}

    def evt(self, *arguments: str, check: bool = True) -> str:
        """What the operator's command prints."""
        return run(self.programs / "evt", *arguments, settings=self.settings, check=check)

    def process(self, program: str, log: str, **settings: str) -> Process:
        """A process of the pipeline, which is to be started."""
        return Process([self.programs / program], {**self.settings, **settings}, self.directory / log)


@dataclass
class Server:
    """A running generator or pusher, and where it listens (the first of several endpoints)."""

    process: Process
    endpoint: str
    live: str = ""


class Stream(Pipeline):
    """A database of its own, and the processes that serve it."""

    def __init__(self, cluster: Cluster, programs: Path, logs: Path, settings: dict[str, str]):
        self.database = cluster.create_database()
        super().__init__(programs, logs, {**DEFAULTS, **settings, "EVT_DATABASE_URL": self.database.conninfo})
        self.processes: list[Process] = []
        try:
            self.evt("migrate", "--roles")
            self.database.values(LOGINS)
            self.generator = self.start_generator()
            self.pusher = self.start_pusher()
        except BaseException:
            for process in self.processes:
                process.kill()
            self.database.drop()
            raise

    def start(self, program: str, **settings: str) -> Process:
        """Starts one of the programs."""
        for url in ("EVT_DATABASE_URL", "EVT_ARCHIVE_URL"):
            if url in self.settings:
                settings[url] = make_conninfo(self.settings[url], user=login(program.removeprefix("evt-")))
        self.processes.append(self.process(program, f"{len(self.processes)}-{program}.log", **settings).start())
        return self.processes[-1]

    def start_generator(self, **settings: str) -> Server:
        """Starts a generator, on a free port unless told otherwise, and waits until it answers."""
        settings = {"EVT_GENERATOR_BIND": free_endpoint(), **settings}
        return self._serve("evt-generator", settings, settings["EVT_GENERATOR_BIND"])

    def start_pusher(self, **settings: str) -> Server:
        """Starts a pusher, on free ports unless told otherwise, and waits until it answers."""
        settings = {"EVT_PUSHER_BIND": free_endpoint(), "EVT_LIVE_BIND": free_endpoint(), **settings}
        return self._serve("evt-pusher", settings, settings["EVT_PUSHER_BIND"], settings["EVT_LIVE_BIND"])

    def _serve(self, program: str, settings: dict[str, str], *endpoints: str) -> Server:
        server = Server(self.start(program, **settings), *(each.split(",")[0] for each in endpoints))
        if server.endpoint:
            wait_until_served(server.process, server.endpoint)
        return server

    def position(self, component: str) -> int:
        """The stored position of a consumer, 0 where there is none."""
        return int(self.database.value(
            f"SELECT coalesce(max(last_evt_id), 0) FROM evt_consumers WHERE ident = 'local:{component}'"))

    def check_alive(self, when: str) -> None:
        """Fails when a process has ended that nobody stopped."""
        for process in self.processes:
            if process.expected_to_run and not process.is_running():
                raise AssertionError(f"{process.name} ended {when}\n{process.log_tail()}")

    def close(self) -> None:
        """Stops everything. A process that had died, or does not stop cleanly, fails the tests."""
        problems = []
        for process in self.processes:
            if not process.expected_to_run:
                continue
            try:
                if status := process.stop():
                    problems.append(f"exit status {status} when asked to stop\n{process.log_tail()}")
            except AssertionError as problem:
                problems.append(str(problem))
        self.database.drop()
        assert not problems, "\n".join(problems)

    def log_tails(self) -> str:
        return "\n".join(process.log_tail() for process in self.processes)


def wait_until_served(process: Process, endpoint: str) -> None:
    """ZeroMQ connects lazily, so a ping that is answered is the sign of readiness; what needs the database has to wait for it."""
    peer = Peer(endpoint)

    def is_ready() -> bool:
        assert process.is_running(), f"it ended while starting\n{process.log_tail()}"
        return "connected to the database" in process.said() and peer.is_served()
    try:
        eventually(is_ready, f"{process.name} serves at {endpoint}", every=0.01)
    finally:
        peer.close()
