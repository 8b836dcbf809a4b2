"""Databases of a server that the tests were given, and sessions in them, which may keep transactions open. Values are read as text."""

from __future__ import annotations

import uuid

import psycopg
from psycopg.conninfo import make_conninfo

SqlError = psycopg.Error


def literal(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def add_sql(event_type: str, data: str = "null", how: str = "evt_add") -> str:
    """The statement that records an event and returns its id: by `evt_add` or by plain `insert`."""
    if how == "insert":
        return (f"INSERT INTO evt_queue(type, data, ts) VALUES ({literal(event_type)}, {literal(data)}, "
                "clock_timestamp() AT TIME ZONE 'UTC') RETURNING id")
    return f"SELECT evt_add({literal(event_type)}, {literal(data)})"


class Session:
    """One database session: a transaction can stay open between statements."""

    def __init__(self, conninfo: str):
        self._connection = psycopg.connect(conninfo, autocommit=True, options="-c client_min_messages=error")

    def run(self, sql: str) -> list[list[str]]:
        """Runs one statement and returns its rows as text; NULL is empty."""
        result = self._connection.execute(sql).pgresult
        return [[(result.get_value(row, column) or b"").decode() for column in range(result.nfields)]
                for row in range(result.ntuples)]

    def value(self, sql: str) -> str:
        """The single value that the statement returns."""
        rows = self.run(sql)
        assert len(rows) == 1 and len(rows[0]) == 1, f"not a single value: {rows[:5]}"
        return rows[0][0]

    def values(self, sql: str) -> list[str]:
        """The first column."""
        return [row[0] for row in self.run(sql)]

    def close(self) -> None:
        self._connection.close()


class Database:
    """A database of its own, dropped in the end."""

    def __init__(self, cluster: Cluster, name: str):
        self.name = name
        self.conninfo = make_conninfo(cluster.conninfo, dbname=name)
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
        self._cluster.admin.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

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
    """The PostgreSQL server that the tests were given."""

    def __init__(self, conninfo: str):
        self.conninfo = conninfo
        self.admin = Session(conninfo)

    def create_database(self) -> Database:
        name = f"evt_test_{uuid.uuid4().hex[:12]}"
        self.admin.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        return Database(self, name)

    def close(self) -> None:
        self.admin.close()
