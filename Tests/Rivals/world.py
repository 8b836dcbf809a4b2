"""Where it is measured: PostgreSQL servers that keep what they promise, and a database for each measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from Harness.postgres import Server, children_of

SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
    "max_connections": "400", "shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min",
    "log_min_messages": "warning", "log_line_prefix": "%m [%p] %a ",
}
ACCOUNTS = 20_000
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
"""Bytes written so far."""
_TICKS = os.sysconf("SC_CLK_TCK")

_TABLES = f"""
CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO account SELECT id, 0 FROM generate_series(1, {ACCOUNTS}) id;
CREATE TABLE entry (id bigserial PRIMARY KEY, account int NOT NULL, n int NOT NULL);
VACUUM ANALYZE account"""


@dataclass
class Site:
    """A database of a measurement, and what its processes need to know."""

    server: Server
    database: str
    directory: Path
    postgres: Path
    programs: Path

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.server.port}/{self.database}"

    def run(self, *statements: str) -> None:
        with self.server.connect(self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def value(self, sql: str):
        with self.server.connect(self.database) as connection:
            return connection.execute(sql).fetchone()[0]


class World:
    """The servers, started when they are first needed."""

    def __init__(self, directory: Path, postgres: Path, programs: Path):
        self.directory, self.postgres, self.programs = directory, postgres, programs
        self._servers: dict[str, Server] = {}
        self._count = 0

    def _server(self, wal_level: str) -> Server:
        if wal_level not in self._servers:
            server = Server(wal_level, self.directory / wal_level, self.postgres, {**SETTINGS, "wal_level": wal_level})
            server.create()
            server.start()
            self._servers[wal_level] = server
        return self._servers[wal_level]

    @property
    def version(self) -> str:
        with self._server("replica").connect("postgres") as connection:
            return connection.execute("SHOW server_version").fetchone()[0]

    @contextmanager
    def trial(self, kind) -> Iterator:
        """A rival of this kind, prepared, with nothing running yet; in the end all of it is gone."""
        server = self._server(kind.wal_level)
        self._count += 1
        site = Site(server, f"trial_{self._count}", self.directory / f"trial_{self._count}", self.postgres, self.programs)
        site.directory.mkdir()
        site.directory.chmod(0o777)
        server.run(f"CREATE DATABASE {site.database}")
        rival = kind(site)
        try:
            for statement in _TABLES.split(";"):
                site.run(statement)
            rival.prepare()
            yield rival
        finally:
            rival.kill()
            server.run(f"DROP DATABASE {site.database} WITH (FORCE)")

    def close(self) -> None:
        for server in self._servers.values():
            server.stop()


def processor(server: Server, *pids: int) -> float:
    """Seconds of processor that the database server has used, with its processes that have ended, and these processes."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].split()
    ended = sum(map(int, fields[13:15])) / _TICKS
    return ended + processor_of(server.pid, *children_of(server.pid), *pids)


def processor_of(*pids: int) -> float:
    """Seconds of processor of processes that live, to the nanosecond."""
    total = 0
    for pid in pids:
        try:
            total += sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue  # it has ended
    return total / 1e9


def machine(version: str) -> str:
    """What it is measured on."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    return (f"{os.cpu_count()} processors ({models[0] if models else os.uname().machine}), Linux {os.uname().release}, "
            f"PostgreSQL {version}, {time.strftime('%Y-%m-%d')}")
