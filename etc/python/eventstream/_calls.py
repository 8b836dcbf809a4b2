"""Calls that are not part of a session: recording through the generator, polling; and the live broadcast."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import zmq
import zmq.asyncio

from . import _wire as wire
from ._destination import Destination, Endpoints, PathLike, destination
from ._errors import EventStreamError
from ._events import Event
from ._receiver import FIELDS, PUSHER, Start, Want, component, event_types, start_position

GENERATOR = "EVT_GENERATOR_CONNECT", "tcp://127.0.0.1:5570"
LIVE = "EVT_LIVE_CONNECT", "tcp://127.0.0.1:5572"
ATTEMPT = 5.0
"""Seconds until a call that may be repeated is made again."""


class Caller:
    """Calls a server, one call at a time. With several endpoints each call goes to one of those that are there."""

    def __init__(self, place: Destination) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._rid = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        place.set_on(self._socket)
        self._socket.immediate = True
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = 50, 1000
        for endpoint in place.endpoints:
            self._socket.connect(endpoint)

    def call(self, function: str, parameters: dict[str, Any], timeout: float, repeats: bool) -> wire.Answer:
        """Calls, and waits for the answer; a call that may be carried out twice is repeated until `timeout` seconds have passed."""
        with self._lock:
            deadline = time.monotonic() + timeout
            while True:
                now = time.monotonic()
                try:
                    return self._attempt(function, parameters, min(deadline, now + ATTEMPT) if repeats else deadline)
                except EventStreamError as error:
                    if not repeats or not error.retriable or error.code == "ConsumerPaused" or time.monotonic() >= deadline - 0.2:
                        raise
                    time.sleep(random.uniform(0.1, 0.2))

    def _attempt(self, function: str, parameters: dict[str, Any], deadline: float) -> wire.Answer:
        self._rid += 1
        rid = f"C{self._rid}"
        payload = wire.call(function, parameters, rid)
        if not self._socket.poll(self._left(deadline), zmq.POLLOUT):
            raise EventStreamError("CommError", f"nobody answers at {', '.join(self._place.endpoints)}; the call was not sent")
        self._socket.send(payload)
        while self._socket.poll(self._left(deadline)):
            answer = wire.decode(self._socket.recv_multipart()[-1])
            # One without a rid is to a call that was too long to be read.
            if isinstance(answer, wire.Answer) and answer.rid in (rid, None):
                if answer.error:
                    raise answer.error
                return answer
        raise EventStreamError("Timeout", "no answer in time; it is not known whether the call was carried out")

    @staticmethod
    def _left(deadline: float) -> int:
        return max(0, int((deadline - time.monotonic()) * 1000)) + 1

    def close(self) -> None:
        with self._lock:
            self._socket.close()
            self._context.term()


class Recorder:
    """Records events through the generator, for programs without a connection to the database. For any number of threads.

    ::

        with Recorder() as recorder:
            recorder.record("ORDER_PAID", {"order": 17}, idempotency_key="payment 4711")

    Args:
        endpoints: The generator, or several: a list, or text with commas. None for ``EVT_GENERATOR_CONNECT``, or the standard endpoint
            ``tcp://127.0.0.1:5570``.
        curve_key, server_key: As for :class:`Receiver`.
        timeout: Seconds that a call may take.
    """

    def __init__(
        self, *, endpoints: Endpoints = None, curve_key: PathLike = None, server_key: PathLike = None, timeout: float = 30.0
    ) -> None:
        self._caller = Caller(destination(endpoints, curve_key, server_key, *GENERATOR))
        self._timeout = timeout

    def record(
        self, type: str, data: Any, *, key: str | None = None, meta: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None
    ) -> int:
        """Records an event, which is durable when the call returns. The parameters are those of :func:`add`; 64 KiB together.

        Returns:
            The id of the event.
        Raises:
            EventStreamError: Recorded or not, the text says which. With an ``idempotency_key`` a lost answer is no error: the call is
                repeated until the timeout, and records the event once.
        """
        more = {"key": key, "meta": meta, "idempotency_key": idempotency_key}
        parameters = {"type": type, "data": data, **{name: value for name, value in more.items() if value is not None}}
        answer = self._caller.call(f"{wire.GENERATOR}:addEvent", parameters, self._timeout, idempotency_key is not None)
        return int(answer.result)

    def close(self) -> None:
        self._caller.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def poll(
    name: str, *, want: Want = None, start: Start = None, register: bool = True, fields: Sequence[str] = FIELDS,
    endpoints: Endpoints = None, curve_key: PathLike = None, server_key: PathLike = None, timeout: float = 10.0
) -> Iterator[Event]:
    """The events that wait for a consumer, for jobs that run now and then: ``for event in poll("REPORTS"): …``

    The loop ends when no event waits. Events are confirmed by the page, of 100 events as a rule, when the loop asks for the next page, so
    the page during which a loop is left comes again.

    Args:
        timeout: Seconds that a call may take; within that it is repeated.
        name, want, start, register, fields, endpoints, curve_key, server_key: As for :class:`Receiver`.
    Raises:
        EventStreamError: Such as ``ConsumerPaused``, or ``CommError`` if no pusher answers in time.
    """
    parameters: dict[str, Any] = {"component": component(name)}
    place = destination(endpoints, curve_key, server_key, *PUSHER)
    wanted, position = event_types(want), start_position(start)

    def pages() -> Iterator[Event]:
        caller = Caller(place)
        try:
            if register:
                more = {} if position is None else {"start": position}
                caller.call(f"{wire.PUSH}:registerConsumer", {**parameters, **more}, timeout, True)
            last: str | None = None
            asked = {"fields": list(fields)} if fields else {}
            while True:
                page = {**parameters, "last_id": last, "want": wanted, **asked}
                try:
                    answer = caller.call(f"{wire.PUSH}:pollEvents", page, timeout, True)
                except EventStreamError as error:
                    if error.code != "InvalidRequest" or not asked:
                        raise
                    asked = {}  # the pusher may not know it
                    continue
                found = wire.events(answer.text)
                if not found:
                    return
                yield from found
                last = str(found[-1].id)
        finally:
            caller.close()

    return pages()


class live:
    """The events that are committed from now on, for screens and caches: ``for event in live("ORDER_*"): …``, or ``async for``.

    Not reliable: a loop that is too slow loses events, and so does a lost connection, which is made again. The events have id, type,
    data and time.

    Args:
        want: Event types, or beginnings such as ``ORDER_*``; None for all.
        endpoints: The live broadcast of a pusher. None for ``EVT_LIVE_CONNECT``, or the standard endpoint ``tcp://127.0.0.1:5572``.
        curve_key, server_key: As for :class:`Receiver`.
    """

    def __init__(
        self, want: Want = None, *, endpoints: Endpoints = None, curve_key: PathLike = None, server_key: PathLike = None
    ) -> None:
        self._want = event_types(want)
        self._place = destination(endpoints, curve_key, server_key, *LIVE)

    def _subscribe(self, context: zmq.Context[Any]) -> Any:
        socket = context.socket(zmq.SUB)
        self._place.set_on(socket)
        for each in ("*",) if self._want is None else self._want:
            socket.subscribe(each[:-1] if each.endswith("*") else each)
        socket.connect(self._place.endpoints[0])
        return socket

    def _is_wanted(self, type: str) -> bool:
        # Subscriptions are prefixes.
        return self._want is None or any(type.startswith(each[:-1]) if each.endswith("*") else type == each for each in self._want)

    def __iter__(self) -> Iterator[Event]:
        context: zmq.Context[Any] = zmq.Context()
        socket = self._subscribe(context)
        try:
            while True:
                event = wire.event(socket.recv_multipart()[-1].decode())
                if self._is_wanted(event.type):
                    yield event
        finally:
            socket.close(0)
            context.term()

    async def __aiter__(self) -> AsyncIterator[Event]:
        context = zmq.asyncio.Context()
        socket = self._subscribe(context)
        try:
            while True:
                event = wire.event((await socket.recv_multipart())[-1].decode())
                if self._is_wanted(event.type):
                    yield event
        finally:
            socket.close(0)
            context.term()
