"""Starting what the tests talk to: a fresh database, evt-generator and evt-pusher."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from Harness.database import Cluster, with_user
from Harness.wire import PATIENCE, PING, NoMessage, Peer

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

STOP_SECONDS = 30
"""A process that was asked to stop has this long."""


def free_endpoint() -> str:
    """A loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Our environment with these settings, and no others, of the stream."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("EVT_")}
    return {**inherited, **settings}


class Process:
    """A process of the stream, with its output in a file."""

    def __init__(self, program: Path, settings: dict[str, str], log: Path):
        self.name = program.name
        self.log = log
        self.expected_to_run = True
        with log.open("wb") as output:
            self._process = subprocess.Popen([program], env=environment(settings), stdin=subprocess.DEVNULL,
                                             stdout=output, stderr=subprocess.STDOUT)

    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def log_tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- {self.name} (pid {self._process.pid}, status {self._process.poll()})", *text])

    def stop(self) -> int:
        """Asks the process to stop and returns its exit status; taking too long is a failure."""
        assert self.is_running(), f"{self.name} had ended already\n{self.log_tail()}"
        self.expected_to_run = False
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {STOP_SECONDS} s\n{self.log_tail()}") from None

    def reload(self) -> None:
        """Lets the process read its files again, and waits until it has."""
        before = self.log.read_text(errors="replace").count("authorized keys ")
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while self.log.read_text(errors="replace").count("authorized keys ") == before:
            assert time.monotonic() < deadline, f"SIGHUP had no effect\n{self.log_tail()}"
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends the process without warning."""
        self.expected_to_run = False
        self._process.kill()
        self._process.wait()


@dataclass
class Server:
    """A running generator or pusher, and where it listens (the first of several endpoints)."""

    process: Process
    endpoint: str
    live: str = ""


class Stream:
    """A database of its own, and the processes that serve it."""

    def __init__(self, cluster: Cluster, binaries: Path, logs: Path, settings: dict[str, str], keys=None):
        self.database = cluster.create_database()
        self._keys = keys
        self.processes: list[Process] = []
        self._binaries, self._logs = binaries, logs
        self._settings = {**DEFAULTS, **settings, "EVT_DATABASE_URL": self.database.conninfo}
        try:
            self._migrate()
            self.generator = self.start_generator()
            self.pusher = self.start_pusher()
        except BaseException:
            for process in self.processes:
                process.kill()
            self.database.drop()
            raise

    def _migrate(self) -> None:
        done = subprocess.run([self._binaries / "evt", "migrate", "--roles"], env=environment(self._settings),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, f"evt migrate failed\n{done.stdout.decode(errors='replace')}"
        for role in ("generator", "pusher", "archiver", "discarder"):
            if self.database.value("SELECT (SELECT count(*) FROM pg_roles WHERE rolname = 'evt_{0}') "
                                   "- (SELECT count(*) FROM pg_roles WHERE rolname = '{1}')".format(role, _login(role))) == "1":
                self.database.values(f"CREATE ROLE {_login(role)} LOGIN IN ROLE evt_{role}")

    def start(self, name: str, settings: dict[str, str]) -> Process:
        """Starts one of the programs. It logs in as a role that may do no more than it needs."""
        log = self._logs / f"{len(self.processes)}-{name}.log"
        settings = {"EVT_METRICS_BIND": "", **self._settings, **settings}
        for url in settings.keys() & {"EVT_DATABASE_URL", "EVT_ARCHIVE_URL"}:
            settings[url] = with_user(settings[url], _login(name.removeprefix("evt-")))
        process = Process(self._binaries / name, settings, log)
        self.processes.append(process)
        return process

    def start_generator(self, **settings: str) -> Server:
        """Starts a generator, on a free port unless told otherwise, and waits until it answers."""
        settings = {"EVT_GENERATOR_BIND": free_endpoint(), **settings}
        process = self.start("evt-generator", settings)
        endpoint = settings["EVT_GENERATOR_BIND"].split(",")[0]
        wait_until_served(process, endpoint, self._keys)
        return Server(process, endpoint)

    def start_pusher(self, **settings: str) -> Server:
        """Starts a pusher, on free ports unless told otherwise, and waits until it answers."""
        settings = {"EVT_PUSHER_BIND": free_endpoint(), "EVT_LIVE_BIND": free_endpoint(), **settings}
        process = self.start("evt-pusher", settings)
        endpoint = settings["EVT_PUSHER_BIND"].split(",")[0]
        if endpoint:
            wait_until_served(process, endpoint, self._keys)
        return Server(process, endpoint, settings["EVT_LIVE_BIND"].split(",")[0])

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
                status = process.stop()
                if status != 0:
                    problems.append(f"exit status {status} when asked to stop\n{process.log_tail()}")
            except AssertionError as problem:
                problems.append(str(problem))
        self.database.drop()
        assert not problems, "\n".join(problems)

    def log_tails(self) -> str:
        return "\n".join(process.log_tail() for process in self.processes)


def _login(role: str) -> str:
    """Who logs in for this process."""
    return f"evt_conformance_{role}"


def wait_until_served(process: Process, endpoint: str, keys=None) -> None:
    """ZeroMQ connects lazily, so a ping that is answered is the sign of readiness; what needs the database has to wait for it."""
    peer = Peer(endpoint, keys=keys)
    try:
        rid = peer.request(f"{PING}:ping", {"echo": 1})
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.is_running(), f"it ended while starting\n{process.log_tail()}"
            assert time.monotonic() < deadline, f"no answer at {endpoint}\n{process.log_tail()}"
            try:
                assert peer.answer(rid, timeout=0.2).result() == {"echo": 1}
                break
            except NoMessage:
                continue
        while b"connected to the database" not in process.log.read_bytes():
            assert process.is_running(), f"it ended while starting\n{process.log_tail()}"
            assert time.monotonic() < deadline, f"no database\n{process.log_tail()}"
            time.sleep(0.01)
    finally:
        peer.close()


def tcp_port(endpoint: str) -> int:
    """The port of a tcp endpoint."""
    match = re.fullmatch(r"tcp://127\.0\.0\.1:([0-9]+)", endpoint)
    assert match, f"not a loopback tcp endpoint: {endpoint}"
    return int(match[1])
