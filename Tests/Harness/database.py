"""PostgreSQL by way of psql alone: a database for each module, sessions that stay open."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import uuid

from Harness.wire import PATIENCE

_FIELD = "\x1f"
_END = "end-of-answer"


class SqlError(Exception):
    """A statement failed."""


def literal(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def add_sql(event_type: str, data: str = "null", how: str = "evt_add") -> str:
    """The statement that records an event and returns its id: by `evt_add` or by plain `insert`."""
    if how == "insert":
        return (f"INSERT INTO evt_queue(type, data, ts) VALUES ({literal(event_type)}, {literal(data)}, "
                "clock_timestamp() AT TIME ZONE 'UTC') RETURNING id")
    return f"SELECT evt_add({literal(event_type)}, {literal(data)})"


def with_database(conninfo: str, name: str) -> str:
    """The same connection string, for another database. Reads both of libpq's forms."""
    uri = re.fullmatch(r"(postgres(?:ql)?://[^/?]*)(?:/[^?]*)?(?:\?(.*))?", conninfo)
    if uri:
        options = [option for option in (uri[2] or "").split("&") if option and not option.startswith("dbname=")]
        return f"{uri[1]}/{name}" + ("?" + "&".join(options) if options else "")
    pairs = re.findall(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)", conninfo)
    return " ".join([f"{key}={value}" for key, value in pairs if key != "dbname"] + [f"dbname={name}"])


def with_user(conninfo: str, user: str) -> str:
    """The same connection string, for another role."""
    if not re.match(r"postgres(?:ql)?://", conninfo):
        return f"{conninfo} user={user}"
    return f"{conninfo}{'&' if '?' in conninfo else '?'}user={user}"


class Session:
    """One open psql, and so one database session: a transaction can stay open between statements."""

    def __init__(self, conninfo: str):
        self._process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-F", _FIELD, "-d", conninfo],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PGCLIENTENCODING": "UTF8", "PGOPTIONS": "-c client_min_messages=error"},
            encoding="utf-8")
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def run(self, sql: str, timeout: float = PATIENCE) -> list[list[str]]:
        """Runs one statement and returns its rows as text."""
        self._process.stdin.write(f"{sql}\n;\n\\echo {_END} :ERROR\n")
        self._process.stdin.flush()
        lines: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except queue.Empty:
                raise SqlError(f"no answer within {timeout} s: {sql[:200]}") from None
            if line is None:
                raise SqlError("psql ended: " + "\n".join(lines))
            if line.startswith(_END):
                break
            lines.append(line)
        if line.endswith("true"):
            raise SqlError("\n".join(lines))
        return [text.split(_FIELD) for text in lines]

    def value(self, sql: str) -> str:
        """The single value that the statement returns."""
        rows = self.run(sql)
        assert len(rows) == 1 and len(rows[0]) == 1, f"not a single value: {rows[:5]}"
        return rows[0][0]

    def values(self, sql: str) -> list[str]:
        """The first column."""
        return [row[0] for row in self.run(sql)]

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Database:
    """A database of its own, dropped in the end."""

    def __init__(self, cluster: Cluster, name: str):
        self.name = name
        self.conninfo = with_database(cluster.conninfo, name)
        self._cluster = cluster
        self._session: Session | None = None

    def open_session(self) -> Session:
        """A further session, for the caller to close."""
        return Session(self.conninfo)

    def value(self, sql: str) -> str:
        return self._shared().value(sql)

    def values(self, sql: str) -> list[str]:
        return self._shared().values(sql)

    def _shared(self) -> Session:
        if self._session is None:
            self._session = self.open_session()
        return self._session

    def cut_off(self) -> None:
        """Ends all connections to the database and admits no new ones."""
        self._forget_session()
        self._cluster.admin.run(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self._cluster.admin.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                f"WHERE datname = '{self.name}'")

    def let_in(self) -> None:
        """Undoes `cut_off`."""
        self._cluster.admin.run(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def drop(self) -> None:
        self._forget_session()
        self._cluster.admin.run(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _forget_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class Cluster:
    """The PostgreSQL cluster that the tests were given."""

    def __init__(self, conninfo: str):
        self.conninfo = conninfo
        self.admin = Session(conninfo)

    def create_database(self) -> Database:
        name = f"evt_conformance_{uuid.uuid4().hex[:12]}"
        self.admin.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        return Database(self, name)

    def close(self) -> None:
        self.admin.close()
