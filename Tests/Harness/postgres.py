"""PostgreSQL servers that are killed and come back, and a pair of them that fails over without losing a commit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg

SETTINGS = {
    # The server processes are killed, never the machine: what was written is there.
    "fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "120",
    "shared_buffers": "64MB", "wal_retrieve_retry_interval": "200ms", "wal_keep_size": "256MB", "max_wal_senders": "10",
    "log_min_messages": "warning", "log_line_prefix": "%m [%p] %a ", "autovacuum_naptime": "5s",
}
_STANDBY = "chaos_standby"
_given_ports: set[int] = set()


def free_port() -> int:
    """A port below those that outgoing connections take: it must still be free when its process comes back."""
    while True:
        port = random.randrange(18000, 32000)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port


class Server:
    """One PostgreSQL server, with its data in a directory."""

    def __init__(self, name: str, directory: Path, binaries: Path, settings: dict[str, str] = SETTINGS):
        self.name, self.directory, self._settings = name, directory, settings
        self.port = free_port()
        self._binaries = binaries
        self._process: subprocess.Popen | None = None
        self.log = directory.with_suffix(".log")

    def _command(self, program: str, *arguments: str) -> None:
        done = subprocess.run([self._binaries / program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **self._as_postgres())
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout[-2000:]}")

    def _as_postgres(self) -> dict:
        """PostgreSQL refuses to run as root."""
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        return {"cwd": self.directory, **user}

    def _make_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")

    def create(self) -> None:
        self._make_directory()
        self._command("initdb", "-D", ".", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def copy_from(self, primary: Server) -> None:
        """Becomes a standby of the other."""
        self._make_directory()
        self._command("pg_basebackup", "-D", ".", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d",
                      f"host=127.0.0.1 port={primary.port} user=postgres application_name={_STANDBY}")

    def start(self) -> None:
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", ".", "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_postgres())
        self.wait_until(lambda connection: True, "an answer")

    def wait_until(self, condition, what: str, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.connect("postgres") as connection:
                    if condition(connection):
                        return
            except psycopg.Error:
                pass
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with status {self._process.poll()}; see {self.log}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: no {what} within {seconds} s; see {self.log}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Kills the server and every process of it, and waits until they are gone."""
        if self._process is None or self._process.poll() is not None:
            return
        children = children_of(self._process.pid)
        for pid in [self._process.pid, *children]:
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        while any(Path(f"/proc/{pid}/stat").exists() and _is_running(pid) for pid in children):
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def promote(self) -> None:
        self.run("SELECT pg_promote(wait => true)")

    def connect(self, database: str, **options) -> psycopg.Connection:
        """A connection that no setting of the database disturbs."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, connect_timeout=5, autocommit=True,
            application_name="chaos",
            options="-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0", **options)

    def run(self, sql: str, database: str = "postgres") -> None:
        with self.connect(database) as connection:
            connection.execute(sql)

    def run_file(self, file: Path, database: str) -> None:
        self.run(file.read_text(), database)

    def run_alone(self, statements: list[str], database: str, settings: dict[str, str], under: tuple = ()) -> None:
        """Runs statements of one line each in a backend without a server, which must be stopped; `under` is a command that watches."""
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        done = subprocess.run(
            [*under, self._binaries / "postgres", "--single", "-D", ".", *options, database], input="\n".join(statements),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self._as_postgres())
        if done.returncode != 0 or "ERROR:" in done.stdout:
            raise RuntimeError(f"postgres --single failed: {done.stdout.partition('ERROR:')[2][:1000] or done.stdout[-1000:]}")


class Pair:
    """A primary and its synchronous standby; what is committed is in both."""

    def __init__(self, directory: Path, binaries: Path):
        self.servers = [Server(name, directory / name, binaries) for name in ("active_a", "active_b")]
        self.primary, self.standby = self.servers

    def create(self) -> None:
        self.primary.create()
        self.primary.start()

    def add_standby(self) -> None:
        """From here on no commit is answered before the standby has it."""
        self.standby.copy_from(self.primary)
        self.standby.start()
        self._wait_for_standby("streaming")
        self.primary.run(f"ALTER SYSTEM SET synchronous_standby_names = '{_STANDBY}'")
        self.primary.run("SELECT pg_reload_conf()")
        self._wait_for_standby("synchronous")

    def _wait_for_standby(self, what: str) -> None:
        """Of a synchronous one: until it has all that anybody can have seen, also after a crash."""
        condition = "state = 'streaming'" if what == "streaming" else "sync_state = 'sync'"
        with self.primary.connect("postgres") as connection:
            end = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        self.primary.wait_until(
            lambda connection: connection.execute(
                f"SELECT count(*) FROM pg_stat_replication WHERE application_name = '{_STANDBY}' AND {condition} "
                "AND flush_lsn >= %s::pg_lsn", [end]).fetchone()[0] > 0, f"{what} standby")

    def fail_over(self) -> None:
        """Kills the primary and promotes the standby; returns when it takes writes."""
        self._wait_for_standby("synchronous")
        self.primary.kill()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        # Nothing waits for a standby until there is one.
        self.primary.run("ALTER SYSTEM RESET synchronous_standby_names")
        self.primary.run("SELECT pg_reload_conf()")

    def restart_primary(self, pause: float) -> None:
        self.primary.kill()
        time.sleep(pause)
        self.primary.start()

    def restart_standby(self, pause: float) -> None:
        """Every commit waits meanwhile."""
        self.standby.kill()
        time.sleep(pause)
        self.standby.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def children_of(pid: int) -> list[int]:
    """The processes whose parent this is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
            except (OSError, IndexError):
                continue
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
