"""Recording events in the transaction of the application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _wire as wire


def _statement(
    type: str, data: Any, key: str | None, meta: Mapping[str, Any] | None, idempotency_key: str | None, table: str,
    schema: str | None
) -> tuple[str, list[Any]]:
    function = "evt_add" if table == "evt_queue" else f"{table}_add"
    name = ".".join('"' + part.replace('"', '""').replace("%", "%%") + '"' for part in (schema, function) if part)
    arguments, values = ["%s::text", "%s::json"], [type, wire.dumps(data)]
    more = {"key": (key, "text"), "meta": (None if meta is None else wire.dumps(meta), "json"),
            "idempotency_key": (idempotency_key, "text")}
    for parameter, (value, kind) in more.items():
        if value is not None:
            arguments.append(f"{parameter} => %s::{kind}")
            values.append(value)
    return f"SELECT {name}({', '.join(arguments)})", values


def _value(row: Any) -> int:
    """Of a row with one column, whatever rows the connection makes."""
    return int(next(iter(row.values())) if isinstance(row, Mapping) else row[0])


def add(
    connection: Any, type: str, data: Any, *, key: str | None = None, meta: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None, table: str = "evt_queue", schema: str | None = None
) -> int:
    """Records an event in the transaction that is open on the connection: committed together with your data, or not at all.

    Args:
        connection: Of psycopg, psycopg2, or any other DB-API client of PostgreSQL with parameters written ``%s``; or a cursor of one.
        type: 1 to 16 of ``A-Z`` and ``_``; in a stream with wide types up to 64 characters.
        data: Anything that is JSON: dict, list, str, int, float, bool, None. ``Json(text)`` is recorded as it is, digit for digit. At
            most 8,384,512 bytes of text.
        key: What the event is about, 1 to 128 bytes: the order of the events of a key is kept.
        meta: How the event came about, such as ``trace_meta()``; at most 4096 bytes of text. None for the transaction's
            (``SET LOCAL eventstream.meta``), if any.
        idempotency_key: 1 to 200 bytes: a repeated call with the same one returns the first id and records nothing.
        table: The table of the stream; schema: where its function is. None to find it by the search path.
    Returns:
        The id of the event.
    Raises:
        TypeError, ValueError: The data is no JSON.
        Exception: The database's error, such as ``CheckViolation`` for a type that is none. The transaction has failed then.
    """
    statement, values = _statement(type, data, key, meta, idempotency_key, table, schema)
    if not hasattr(connection, "cursor"):
        connection.execute(statement, values)
        return _value(connection.fetchone())
    cursor = connection.cursor()
    try:
        cursor.execute(statement, values)
        return _value(cursor.fetchone())
    finally:
        cursor.close()


async def add_async(
    connection: Any, type: str, data: Any, *, key: str | None = None, meta: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None, table: str = "evt_queue", schema: str | None = None
) -> int:
    """As :func:`add`, for an ``AsyncConnection`` of psycopg 3 or a cursor of one."""
    statement, values = _statement(type, data, key, meta, idempotency_key, table, schema)
    return _value(await (await connection.execute(statement, values)).fetchone())
