"""Events, and where they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context


@dataclass(frozen=True)
class Json:
    """JSON text that is recorded as it is, byte for byte: ``Json('{"amount": 12.50}')``."""

    text: str


@dataclass(frozen=True)
class Origin:
    """Which stream events are of, and what their session followed."""

    stream: str
    """Names the stream, and never changes."""
    generation: str
    """Changes when the database went back, by a fail-over or a restore."""
    json: str = field(repr=False)
    """The whole answer of the pusher, for the inbox."""


@dataclass(frozen=True)
class Source:
    """What the events of a group have in common."""

    origin: Origin | None = None
    parked: bool = False
    slice: int | None = None
    slices: int | None = None


@dataclass(frozen=True)
class Event:
    """An event of the stream."""

    id: int
    """Increases along the stream, with gaps."""
    type: str
    ts: str
    """The time as it travels, in whole seconds: ``2026-11-24T08:30:00Z``. See :attr:`time`."""
    json: str
    """The data as JSON text, digit for digit as it was recorded."""
    us: int | None = None
    """The microseconds of the time; None if they were not asked for."""
    key: str | None = None
    """What the event is about; None if the event has no key."""
    meta_json: str | None = field(default=None, repr=False)
    """The meta as JSON text; None if the event has no meta."""
    source: Source = field(default=Source(), repr=False, compare=False)

    @cached_property
    def data(self) -> Any:
        """The data: dict, list, str, int, float, bool or None. For exact decimals parse :attr:`json`."""
        return json.loads(self.json)

    @cached_property
    def meta(self) -> dict[str, Any] | None:
        """How the event came about: a trace, a user, a request; None if the event has no meta."""
        return None if self.meta_json is None else json.loads(self.meta_json)

    @property
    def time(self) -> datetime:
        """When the event was recorded, in UTC."""
        seconds = datetime.fromisoformat(self.ts.replace("Z", "")).replace(tzinfo=timezone.utc)
        return seconds + timedelta(microseconds=self.us or 0)

    @property
    def parked(self) -> bool:
        """Whether the event failed before and was set aside, and an operator has delivered it again. Its id is lower than those before."""
        return self.source.parked

    def context(self) -> Context:
        """The OpenTelemetry context of whoever recorded the event, from ``traceparent`` and ``tracestate`` in :attr:`meta`.

        Needs the package ``opentelemetry-api``::

            with tracer.start_as_current_span("bill", context=event.context()): ...
        """
        from opentelemetry import propagate
        return propagate.extract({name: value for name, value in (self.meta or {}).items() if isinstance(value, str)})


def trace_meta() -> dict[str, str]:
    """The present OpenTelemetry trace as the meta of an event: ``add(connection, "PAID", data, meta=trace_meta())``.

    Needs the package ``opentelemetry-api``. Empty outside a trace.
    """
    from opentelemetry import propagate
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
