"""Messages as they travel: JSON objects, one a frame (protocol, section 2). Nothing here does I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ._errors import EventStreamError
from ._events import Event, Json, Origin, Source

GENERATOR, PUSH = "futoin.evt.gen:1.1", "futoin.evt.push:1.1"
ON_EVENTS = re.compile(r"futoin\.evt\.receiver:1\.[01]:onEvents")


@dataclass(frozen=True)
class OnEvents:
    """The pusher brings a group of events, and waits for the answer."""

    rid: str
    seq: int
    events: tuple[Event, ...]
    session: int | None = None
    """Another number in each session; None where the pusher does not tell."""
    parked: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer to a call of ours."""

    rid: str | None
    result: Any = None
    error: EventStreamError | None = None
    text: str = ""
    """The result as JSON text."""


class Refused(Exception):
    """A call that is none: it is answered with an error."""

    def __init__(self, rid: str, code: str, message: str) -> None:
        super().__init__(message)
        self.rid, self.code = rid, code


# Writing


def dumps(value: Any) -> str:
    """A value as JSON text; :class:`Json` verbatim. Raises TypeError or ValueError for what is no JSON."""
    if isinstance(value, Json):
        return value.text
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate is legal JSON as an escape only.
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def call(function: str, parameters: dict[str, Any], rid: str) -> bytes:
    """A call of ours. Parameters may be :class:`Json`."""
    members = ",".join(f"{dumps(name)}:{dumps(value)}" for name, value in parameters.items())
    return f'{{"f":"{function}","p":{{{members}}},"rid":"{rid}"}}'.encode()


def answer(rid: str, outcome: dict[str, Any]) -> bytes:
    """The answer to a call of the pusher: ``{"r": …}`` or ``{"e": …, "edesc": …}``."""
    return dumps({**outcome, "rid": rid}).encode()


# Reading

_DECODER = json.JSONDecoder()
_OPENING = re.compile(r"[ \t\n\r]*([{\[])[ \t\n\r]*")
_NAME = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"[ \t\n\r]*:[ \t\n\r]*')
_BETWEEN = re.compile(r"[ \t\n\r]*([,}\]])[ \t\n\r]*")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')

Reader = Callable[[str, int], tuple[Any, int]]
"""Reads the value that begins at a place of a text; returns the value, and where it ends."""
UNREAD = object()


def _value(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        # Nested too deeply for Python's decoder. Only whoever asks for the data of this event is to fail.
        depth = 0
        for token in _TOKEN.finditer(text, start):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
            if depth == 0:
                return UNREAD, token.end()
        raise ValueError("a value without an end") from None


def _verbatim(text: str, start: int) -> tuple[tuple[str, Any], int]:
    """The text of the value, and the value."""
    value, end = _value(text, start)
    return (text[start:end], value), end


def _items(text: str, start: int, brackets: str, item: Callable[[int], int]) -> int:
    """Reads what stands between two brackets, with commas in between; `item` reads one, and returns where it ends."""
    opening = _OPENING.match(text, start)
    if not opening or opening[1] != brackets[0]:
        raise ValueError(f"no {brackets[0]}")
    at = opening.end()
    if text[at] == brackets[1]:
        return at + 1
    while True:
        between = _BETWEEN.match(text, item(at))
        if not between or between[1] not in ("," + brackets[1]):
            raise ValueError(f"no {brackets[1]}")
        if between[1] != ",":
            return between.start(1) + 1
        at = between.end()


def _object(text: str, start: int, readers: dict[str, Reader]) -> tuple[dict[str, Any], int]:
    """An object, some members of which have readers of their own."""
    found: dict[str, Any] = {}

    def member(at: int) -> int:
        name = _NAME.match(text, at)
        if not name:
            raise ValueError("no name")
        found[name[1]], end = readers.get(name[1], _value)(text, name.end())
        return end

    return found, _items(text, start, "{}", member)


_EVENT: dict[str, Reader] = {"data": _verbatim, "meta": _verbatim}


def _event(text: str, start: int, source: Source) -> tuple[Event, int]:
    parts, end = _object(text, start, _EVENT)
    data, meta = parts["data"], parts.get("meta", (None, None))
    if not all(isinstance(parts[name], str) for name in ("id", "type", "ts")):
        raise ValueError("id, type and ts must be strings")
    event = Event(int(parts["id"]), parts["type"], parts["ts"], data[0], parts.get("us"), parts.get("key"), meta[0], source)
    # It has been read already.
    event.__dict__.update((name, value) for name, value in (("data", data[1]), ("meta", meta[1])) if value is not UNREAD)
    return event, end


def _events(text: str, start: int, source: Source) -> tuple[list[Event], int]:
    found: list[Event] = []

    def element(at: int) -> int:
        event, end = _event(text, at, source)
        found.append(event)
        return end

    return found, _items(text, start, "[]", element)


def event(text: str) -> Event:
    """Reads an event as the broadcast has it. Raises ValueError for what is none."""
    return _event(text, 0, Source())[0]


def events(text: str) -> list[Event]:
    """Reads the answer to pollEvents. Raises ValueError for what is none."""
    return _events(text, 0, Source())[0]


def origin(answer: Answer) -> Origin | None:
    """Reads the answer to readyToReceive; None if the pusher does not tell the origin."""
    value = answer.result
    return Origin(str(value["stream"]), str(value["generation"]), answer.text) if isinstance(value, dict) else None


def decode(payload: bytes, source: Source = Source()) -> OnEvents | Answer | None:
    """Reads a message of a server; None for what is none. Raises :class:`Refused` for a call that cannot be."""
    def parameters(text: str, start: int) -> tuple[Any, int]:
        return _object(text, start, {"events": lambda text, start: _verbatim_events(text, start, source)})

    try:
        text = payload.decode()
        parts, _ = _object(text, 0, {"r": _verbatim, "p": parameters})
    except (ValueError, KeyError, IndexError):
        return None
    rid = parts.get("rid")
    if "f" not in parts:
        if "e" in parts:
            return Answer(rid, error=EventStreamError(str(parts["e"]), str(parts.get("edesc", ""))))
        return Answer(rid, parts["r"][1], text=parts["r"][0]) if "r" in parts else None
    if not isinstance(rid, str):
        return None
    if not ON_EVENTS.fullmatch(str(parts["f"])):
        raise Refused(rid, "NotImplemented", f"a receiver has no function {str(parts['f'])[:100]}")
    try:
        return _on_events(rid, **parts["p"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(rid, "InvalidRequest", f"the group cannot be read: {error!r}") from None


def _verbatim_events(text: str, start: int, source: Source) -> tuple[Any, int]:
    """The events; what is none is left to whoever looks at it."""
    try:
        return _events(text, start, source)
    except (ValueError, KeyError, IndexError) as error:
        return error, _value(text, start)[1]


def _on_events(rid: str, seq: Any, events: Any, session: Any = None, parked: Any = False, **more: Any) -> OnEvents:
    if isinstance(events, Exception):
        raise ValueError(f"{events!r}")
    if type(seq) is not int or seq < 0 or type(session) not in (int, type(None)) or type(parked) is not bool or not events:
        raise ValueError("seq, session, parked or events cannot be")
    if any(one.id >= other.id for one, other in zip(events, events[1:])) or (parked and len(events) != 1):
        raise ValueError("the events are not in the order of their ids")
    if parked:
        events = [replace(events[0], source=replace(events[0].source, parked=True))]
    return OnEvents(rid, seq, tuple(events), session, parked)
