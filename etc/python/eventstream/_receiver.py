"""Reliable receivers: the sync one, whose sessions a thread keeps, and the one for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from queue import SimpleQueue
from typing import Any, Literal, Union, overload

import zmq

from ._batch import Batch
from ._destination import Endpoints, PathLike, destination
from ._engine import Engine, Link
from ._events import Event
from ._session import Options, Progress

PUSHER = "EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"
FIELDS = ("us", "key", "meta")
CLOSE_TIMEOUT = 5.0

Want = Union[str, Sequence[str], None]
Start = Union[str, int, datetime, None]


def event_types(want: Want) -> tuple[str, ...] | None:
    found = (want,) if isinstance(want, str) else None if want is None else tuple(want)
    if found == ():
        raise ValueError("want must name at least one event type, or be None for all")
    return found


def component(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,16}", name) or name == "LIVE":
        raise ValueError(f"{name[:40]!r} is no name of a consumer: 1 to 16 of A-Z, a-z, 0-9 and _, and not LIVE")
    return name


def start_position(start: Start) -> str | None:
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ValueError("start must have a time zone")
        return start.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None if start is None else str(start)


class _Receiver:
    """What both kinds have in common: what they want, and the engine that gets it."""

    def __init__(
        self,
        name: str,
        *,
        want: Want = None,
        start: Start = None,
        slices: int | None = None,
        at_most: int = 1,
        slice: int | None = None,
        max_batch: int = 1000,
        fields: Sequence[str] = FIELDS,
        register: bool = True,
        endpoints: Endpoints = None,
        curve_key: PathLike = None,
        server_key: PathLike = None,
        session_timeout: float = 15.0,
        on_progress: Callable[[Progress], None] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.name = component(name)
        if slices is None and (at_most != 1 or slice is not None):
            raise ValueError("at_most and slice are for a consumer with slices")
        if slices is not None:
            if not 2 <= slices <= 256 or at_most < 1:
                raise ValueError("a consumer has 2 to 256 slices, and a receiver takes at least one")
            if slice is not None and not 0 <= slice < slices:
                raise ValueError(f"slice must be 0 to {slices - 1}")
            at_most = 1 if slice is not None else min(at_most, slices)
        if max_batch < 1 or session_timeout <= 0:
            raise ValueError("max_batch must be at least 1, and session_timeout more than 0")
        self._logger = logger or logging.getLogger("eventstream")
        place = destination(endpoints, curve_key, server_key, *PUSHER)
        options = Options(self.name, place.endpoints, event_types(want), slices, register, start_position(start), tuple(fields),
                          max_batch, session_timeout)
        self._engine = Engine(options, place, at_most, slice, self._logger, on_progress)
        self._is_stopping = self._is_closed = False
        self._batch: Batch | None = None
        """The one that was handed out last."""
        self._prepare()

    def _prepare(self) -> None:
        """What the kind of receiver needs."""

    def _give_back(self) -> None:
        if self._batch is not None and not self._batch.is_over:
            self._logger.warning("%s: %r was not confirmed, and comes again", self.name, self._batch)
            self._batch.reject(error="the batch was not confirmed")

    def _failed(self, batch: Batch, error: Exception) -> None:
        self._logger.error("%s: %r failed, and comes again", self.name, batch, exc_info=error)


class Receiver(_Receiver):
    """Receives every event that a registered consumer wants, in order, at least once.

    ::

        with Receiver("BILLING", want=["ORDER_PAID"]) as receiver:
            for batch in receiver:
                for event in batch.events:
                    print(event.id, event.data)      # your work
                batch.confirm()                      # these events do not come again

    or ``Receiver("BILLING").run(handler)``. A thread of its own keeps the session, however long the work takes. A lost connection is made
    again, with back-off. While another receiver has the consumer, this one stands by. For one user thread; used once.

    Args:
        name: The consumer: 1 to 16 of ``A-Z a-z 0-9 _``, not ``LIVE``. It is registered on the way.
        want: Event types, or beginnings such as ``ORDER_*``; None for all.
        start: Where a consumer begins that is not registered yet: ``"first"``, ``"now"``, the id of an event (what follows it comes), or
            a datetime with a time zone. None for the oldest event that is not discarded.
        slices: Into how many slices the consumer is cut, 2 to 256, the same for all receivers; None for a consumer without slices.
            All events with one key are of one slice, and each slice has one receiver at a time.
        at_most: How many slices this receiver takes at most. It goes on trying to get as many.
        slice: The only slice to serve, 0 to ``slices - 1``, instead of any that are free.
        max_batch: The most events of a batch, at least 1.
        fields: What events have besides id, type, data and whole seconds: ``us`` (microseconds), ``key``, ``meta``.
        register: Whether the consumer is registered on the way.
        endpoints: The pusher, or several, of which the next one is tried when one is lost: a list, or text with commas. None for
            ``EVT_PUSHER_CONNECT``, or the standard endpoint ``tcp://127.0.0.1:5571``.
        curve_key: The file with the client's own key pair, made by ``evt keygen``. None, without endpoints: ``EVT_CURVE_KEY``.
        server_key: The server's public key, or a file with it. None, without endpoints: ``EVT_SERVER_KEY``.
        session_timeout: Seconds, more than 0: the pusher's ``EVT_SESSION_TIMEOUT``. A sign of life is sent three times as often, and a
            pusher that does not answer for so long is left.
        on_progress: Called with each :class:`Progress`, in the thread of the receiver; must return soon.
        logger: None for the logger ``eventstream``.
    Raises:
        ValueError: A parameter cannot be.
    """

    def _prepare(self) -> None:
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __iter__(self) -> Receiver:
        return self

    def __next__(self) -> Batch:
        """The next batch; waits for it. A batch that was not reported is given back first."""
        self._give_back()
        if self._is_closed:
            raise StopIteration
        self._start()
        self._post(self._engine.request, self._batches.put)
        batch = self._batches.get()
        if batch is None:
            self.close()
            error = self._failure or self._engine.error
            if error is not None:
                raise error
            raise StopIteration
        batch.report = self._post
        self._batch = batch
        return batch

    @overload
    def run(self, handler: Callable[[Event], object], *, batches: Literal[False] = False) -> None: ...
    @overload
    def run(self, handler: Callable[[Batch], object], *, batches: Literal[True]) -> None: ...
    def run(self, handler: Callable[[Any], object], *, batches: bool = False) -> None:
        """Calls the handler with each event, and confirms what it returns from, until :meth:`stop`.

        An event at which the handler raises an Exception comes again after a pause, and what follows comes after it; the error is logged.

        Args:
            handler: Called with an :class:`Event`, in this thread.
            batches: Whether it is called with a :class:`Batch` instead, which is confirmed as a whole unless the handler has done it.
                A batch at which it raises comes again in batches of one event, until it is known which event is at fault.
        Raises:
            EventStreamError: The pusher refuses the consumer in a way that does not pass, such as ``Unauthorized``.
        """
        try:
            for batch in self:
                if batches:
                    try:
                        handler(batch)
                        batch.confirm()
                    except Exception as error:
                        self._failed(batch, error)
                        batch.reject(error=error)
                    continue
                for event in batch.events:
                    try:
                        handler(event)
                    except Exception as error:
                        self._failed(batch, error)
                        batch.reject(event, error)
                        break
                    batch.confirm(through=event)
                    if self._is_stopping and batch.is_between_groups:
                        return
        finally:
            self.close()

    def stop(self) -> None:
        """Lets :meth:`run`, or the loop over the receiver, end: it finishes the work that it has begun, and no batch follows.

        Returns at once. May be called from another thread or a signal handler::

            signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
        """
        self._is_stopping = True
        self._post(self._engine.quiesce)

    def close(self) -> None:
        """Ends the session, so that another receiver can take over at once. A batch that is not reported comes again.

        Takes 2 seconds at most if the pusher does not answer. ``with`` does it, and so does the end of the loop.
        """
        self._is_stopping = self._is_closed = True
        if self._thread is None:
            self._engine.close()
            self._bell.close()
        else:
            self._post(self._engine.stop)
            if self._thread is not threading.current_thread():
                self._thread.join(CLOSE_TIMEOUT)
        self._ring.close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The thread

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"eventstream {self.name}", daemon=True)
            self._thread.start()

    def _post(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Has the thread call this."""
        self._calls.append((call, arguments))
        try:
            self._ring.send(b"\0")
        except OSError:
            pass  # it is ringing already, or there is nobody any more

    def _work(self) -> None:
        engine = self._engine
        try:
            engine.start()
            while True:
                self._drain_bell()
                while self._calls:
                    call, arguments = self._calls.popleft()
                    call(*arguments)
                engine.turn()
                if engine.has_ended:
                    break
                poller = zmq.Poller()
                poller.register(self._bell, zmq.POLLIN)
                for link in engine.links:
                    poller.register(link.socket, zmq.POLLIN)
                    poller.register(link.monitor, zmq.POLLIN)
                poller.poll(int(min(engine.seconds, 3600) * 1000) + 1)
        except BaseException as error:
            self._failure = error
        finally:
            engine.close()
            self._bell.close()
            # For whoever asks from now on.
            self._batches.put(None)

    def _drain_bell(self) -> None:
        try:
            self._bell.recv(4096)
        except BlockingIOError:
            pass


class AsyncReceiver(_Receiver):
    """The same as :class:`Receiver`, with the same parameters, for asyncio; ``on_progress`` is called on the loop.

    ::

        async with AsyncReceiver("BILLING", want=["ORDER_PAID"]) as receiver:
            async for batch in receiver:
                for event in batch.events:
                    await bill(event.data)
                batch.confirm()

    The loop keeps the session: work that blocks the loop for longer than ``session_timeout`` loses it. Batches are reported in the
    thread of the loop. Needs a loop with ``add_reader``, so not the Proactor loop of Windows.
    """

    def _prepare(self) -> None:
        self._limit = len(self._engine.lanes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_turning = self._turns_again = False

    def __aiter__(self) -> AsyncReceiver:
        return self

    async def __anext__(self) -> Batch:
        """The next batch; waits for it. A batch that was not reported is given back first."""
        self._give_back()
        self._batch = await self._next()
        if self._batch is None:
            await self.close()
            if self._engine.error is not None:
                raise self._engine.error
            raise StopAsyncIteration
        return self._batch

    @overload
    async def run(self, handler: Callable[[Event], object], *, batches: Literal[False] = False) -> None: ...
    @overload
    async def run(self, handler: Callable[[Batch], object], *, batches: Literal[True]) -> None: ...
    async def run(self, handler: Callable[[Any], object], *, batches: bool = False) -> None:
        """As :meth:`Receiver.run`; the handler may be a coroutine function. With slices it is called for ``at_most`` slices at a time.

        Returns after :meth:`stop`; a task that is cancelled closes the receiver.
        """
        tasks = [asyncio.ensure_future(self._serve(handler, batches)) for _ in range(self._limit)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()
        if self._engine.error is not None:
            raise self._engine.error

    async def _serve(self, handler: Callable[[Any], Any], batches: bool) -> None:
        while (batch := await self._next()) is not None:
            if batches:
                try:
                    await _result(handler(batch))
                    batch.confirm()
                except Exception as error:
                    self._failed(batch, error)
                    batch.reject(error=error)
                continue
            for event in batch.events:
                try:
                    await _result(handler(event))
                except Exception as error:
                    self._failed(batch, error)
                    batch.reject(event, error)
                    break
                batch.confirm(through=event)
                if self._is_stopping and batch.is_between_groups:
                    return

    def stop(self) -> None:
        """As :meth:`Receiver.stop`: ``loop.add_signal_handler(signal.SIGTERM, receiver.stop)``. For the loop's thread."""
        self._is_stopping = True
        self._engine.quiesce()
        self._turn()

    async def close(self) -> None:
        """As :meth:`Receiver.close`."""
        is_first, self._is_closed, self._is_stopping = not self._is_closed, True, True
        self._engine.stop()
        if self._ended is not None:
            self._turn()
            await asyncio.shield(self._ended)
        elif is_first:
            self._engine.close()

    async def __aenter__(self) -> AsyncReceiver:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The loop

    async def _next(self) -> Batch | None:
        if self._is_closed:
            return None
        future: asyncio.Future[Batch | None] = asyncio.get_running_loop().create_future()

        def deliver(batch: Batch | None) -> None:
            if not future.done():
                future.set_result(batch)
            else:
                _release(batch)

        self._start()
        self._engine.request(deliver)
        self._turn()
        try:
            batch = await future
        except asyncio.CancelledError:
            self._engine.forget(deliver)
            if not future.cancelled():
                _release(future.result())
            raise
        if batch is not None:
            batch.report = self._report
        return batch

    def _report(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)
        self._turn()

    def _start(self) -> None:
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._engine.watch, self._engine.unwatch = self._watch, self._unwatch
        self._engine.start()

    def _watch(self, link: Link) -> None:
        assert self._loop is not None
        for each in (link.socket, link.monitor):
            self._loop.add_reader(each.fileno(), self._turn)

    def _unwatch(self, link: Link) -> None:
        assert self._loop is not None
        for each in (link.socket, link.monitor):
            self._loop.remove_reader(each.fileno())

    def _turn(self) -> None:
        if self._loop is None or self._ended is None or self._ended.done():
            return
        self._turns_again = True
        if self._is_turning:
            return  # what is told on the way has called us
        self._is_turning = True
        try:
            while self._turns_again:
                self._turns_again = False
                self._engine.turn()
        finally:
            self._is_turning = False
        if self._timer is not None:
            self._timer.cancel()
        if self._engine.has_ended:
            self._engine.close()
            self._ended.set_result(None)
        elif (seconds := self._engine.seconds) < math.inf:
            self._timer = self._loop.call_later(seconds, self._turn)


def _release(batch: Batch | None) -> None:
    """Whoever was to get it is gone."""
    if batch is not None and batch.owner is not None:
        batch.owner.release(batch)


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
