"""The session of a receiver with a pusher, as a machine without I/O and without a clock (protocol, section 5).

What happens goes in, with the time at which it happened; what is to be done comes out of :meth:`Session.take_actions`. The thread of
``Receiver`` and the event loop of ``AsyncReceiver`` drive the same machine.
"""

from __future__ import annotations

import enum
import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

from . import _wire as wire
from ._batch import Batch
from ._errors import EventStreamError
from ._events import Source
from ._order import Order

CONNECT_TIMEOUT = 2.0
"""Seconds. An endpoint where nobody answers for so long is left for the next one."""
BUSY_PAUSE = 0.5
"""Seconds until a consumer whose session another receiver has is asked for again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts: doubled each time."""
STOP_TIMEOUT = 2.0


@dataclass(frozen=True)
class Open:
    """Connect to this endpoint, instead of what there was before."""

    endpoint: str


@dataclass(frozen=True)
class Close:
    """Give the connection up."""


@dataclass(frozen=True)
class Send:
    payload: bytes


@dataclass(frozen=True)
class Progress:
    """What a receiver tells of itself: the argument of ``on_progress``."""

    what: str
    """``ready``: a session has begun. ``received``, ``confirmed``: ``count`` events. ``rejected``: an event could not be processed.
    ``busy``: another receiver has the session; it is asked for again. ``error``: no session, or no longer, because of ``error``; it is
    tried again. ``generation``: the database went back; the receiver goes on from the position that the database has."""
    count: int = 0
    error: EventStreamError | None = None
    endpoint: str = ""
    slice: int | None = None


Action = Union[Open, Close, Send, Progress]


@dataclass(frozen=True)
class Options:
    """What a receiver wants; see the parameters of ``Receiver``."""

    component: str
    endpoints: tuple[str, ...]
    want: tuple[str, ...] | None = None
    slices: int | None = None
    register: bool = True
    start: str | None = None
    fields: tuple[str, ...] = ("us", "key", "meta")
    max_batch: int = 1000
    session_timeout: float = 15.0


class Slices:
    """The slices that a receiver may serve and does not try at the moment; shared by its sessions."""

    def __init__(self, indexes: Iterable[int], draw: random.Random) -> None:
        free = list(indexes)
        # Receivers that begin together do not try the same ones.
        draw.shuffle(free)
        self._free = deque(free)

    def take(self) -> int:
        return self._free.popleft()

    def exchange(self, index: int) -> int:
        self._free.append(index)
        return self._free.popleft()


class State(enum.Enum):
    NEW = enum.auto()
    PAUSING = enum.auto()
    """Without a connection, until the next attempt."""
    OPENING = enum.auto()
    REGISTERING = enum.auto()
    ASKING = enum.auto()
    RESTING = enum.auto()
    """Connected, until the consumer is asked for again."""
    READY = enum.auto()
    BEATING = enum.auto()
    """Ready, and a sign of life is not answered yet."""
    STOPPING = enum.auto()
    ENDED = enum.auto()


WAITS_FOR_ANSWER = (State.REGISTERING, State.ASKING, State.BEATING, State.STOPPING)


class Session:
    """Registers, asks for the session, keeps it with signs of life, begins anew after a loss."""

    def __init__(self, options: Options, slices: Slices | None = None, draw: random.Random | None = None) -> None:
        self.options = options
        self.state = State.NEW
        self.deadline = math.inf
        """When :meth:`tick` is due. One at a time: each state waits for one thing."""
        self.error: EventStreamError | None = None
        """Why the session has ended by itself."""
        self.generation: str | None = None
        self.slice = slices.take() if slices else None
        self._slices, self._draw = slices, draw or random.Random()
        self._order = Order(options.max_batch)
        self._source = Source()
        self._actions: list[Action] = []
        self._rid = 0
        self._endpoint = 0
        self._attempts = 0
        self._older = 0
        """What the pusher does not know: 1 no partial processing, 2 no fields and no origin either."""
        self._is_registered = False

    @property
    def endpoint(self) -> str:
        return self.options.endpoints[self._endpoint % len(self.options.endpoints)]

    @property
    def is_ready(self) -> bool:
        return self.state in (State.READY, State.BEATING)

    @property
    def has_ended(self) -> bool:
        return self.state is State.ENDED

    def take_actions(self) -> list[Action]:
        """What is to be done, in this order."""
        actions, self._actions = self._actions, []
        return actions

    # What happens

    def start(self, now: float) -> None:
        if self.state is State.NEW:
            self._open(now)

    def connected(self, now: float) -> None:
        """Messages can flow."""
        if self.state is State.OPENING:
            self._older, self._is_registered = 0, False  # this pusher may be another one
            self._begin(now)

    def disconnected(self, now: float, reason: str) -> None:
        if self.state is State.STOPPING:
            self._end()
        elif self.state not in (State.NEW, State.PAUSING, State.ENDED):
            self._lost(now, EventStreamError("CommError", reason))

    def received(self, now: float, payload: bytes) -> None:
        """A message has come."""
        try:
            message = wire.decode(payload, self._source)
        except wire.Refused as refused:
            return self._do(Send(wire.answer(refused.rid, {"e": refused.code, "edesc": str(refused)})))
        if isinstance(message, wire.OnEvents):
            if self.is_ready:
                self._order.arrived(message)
                self._tell("received", len(message.events))
                self._answer()
        elif message is not None and message.rid == f"C{self._rid}" and self.state in WAITS_FOR_ANSWER:
            self._answered(now, message)

    def tick(self, now: float) -> None:
        """The deadline has passed."""
        if now < self.deadline:
            return
        if self.state is State.PAUSING:
            self._open(now)
        elif self.state is State.OPENING:
            self._lost(now, EventStreamError("CommError", f"nobody answers at {self.endpoint}"))
        elif self.state is State.RESTING:
            self._begin(now)
        elif self.state is State.READY:
            self._ask(now, State.BEATING)
        elif self.state is State.STOPPING:
            self._end()
        else:
            self._lost(now, EventStreamError("Timeout", f"{self.endpoint} has not answered for {self.options.session_timeout:g} s"))

    def stop(self, now: float) -> None:
        """Ends the session, so that another receiver can take over at once."""
        if self.is_ready:
            self._call(now, State.STOPPING, "stopReceiving", self._consumer(), STOP_TIMEOUT)
        elif self.state not in (State.STOPPING, State.ENDED):
            self._end()

    # Batches

    def take(self) -> Batch | None:
        """The next batch; None if there is none, or the one before is not reported."""
        if not self.is_ready:
            return None
        batch = self._order.take()
        self._answer()
        return batch

    def confirm(self, batch: Batch, count: int) -> None:
        """So many of its events have been processed, from the first on."""
        self._count(batch, count)
        self._order.confirm(batch, count)
        self._answer()

    def reject(self, batch: Batch, count: int, reason: str) -> None:
        """So many of its events have been processed, and the next one could not be."""
        self._count(batch, count)
        self._rejected(1, reason)
        self._order.reject(batch, count, reason)
        self._answer()

    def give_back(self, batch: Batch, count: int, reason: str) -> None:
        """So many of its events have been processed, and one of the others could not be; it is not known which one."""
        self._count(batch, count)
        self._rejected(len(batch) - count, reason)
        self._order.give_back(batch, count, reason)
        self._answer()

    def release(self, batch: Batch) -> None:
        """Nobody has looked at it: it is handed out again."""
        self._order.release(batch)

    def _count(self, batch: Batch, count: int) -> None:
        if count > batch.counted and not self.has_ended:
            self._tell("confirmed", count - batch.counted)
            batch.counted = count

    def _rejected(self, count: int, reason: str) -> None:
        if not self.has_ended:
            self._tell("rejected", count, EventStreamError("InternalError", reason))

    def _answer(self) -> None:
        answers, self._order.answers = self._order.answers, []
        if self.is_ready:
            for rid, outcome in answers:
                self._do(Send(wire.answer(rid, outcome)))

    # Inside

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _tell(self, what: str, count: int = 0, error: EventStreamError | None = None) -> None:
        self._do(Progress(what, count, error, self.endpoint, self.slice))

    def _become(self, state: State, deadline: float) -> None:
        self.state, self.deadline = state, deadline

    def _pause(self) -> float:
        self._attempts += 1
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._attempts - 1, 10))
        return longest * self._draw.uniform(0.5, 1)

    def _open(self, now: float) -> None:
        self._do(Open(self.endpoint))
        self._become(State.OPENING, now + CONNECT_TIMEOUT)

    def _lost(self, now: float, error: EventStreamError) -> None:
        self._tell("error", error=error)
        self._do(Close())
        self._endpoint += 1
        self._order.new_session()
        self._become(State.PAUSING, now + self._pause())

    def _end(self, error: EventStreamError | None = None) -> None:
        self.error = error
        self._do(Close())
        self._become(State.ENDED, math.inf)

    def _call(self, now: float, state: State, function: str, parameters: dict[str, Any], timeout: float | None = None) -> None:
        self._rid += 1
        self._do(Send(wire.call(f"{wire.PUSH}:{function}", parameters, f"C{self._rid}")))
        self._become(state, now + (timeout or self.options.session_timeout))

    def _consumer(self) -> dict[str, Any]:
        consumer: dict[str, Any] = {"component": self.options.component}
        if self.slice is not None:
            consumer["slice"] = {"index": self.slice, "of": self.options.slices}
        return consumer

    def _begin(self, now: float) -> None:
        options = self.options
        if self._is_registered or not options.register:
            return self._ask(now, State.ASKING)
        parameters: dict[str, Any] = {"component": options.component}
        if options.start is not None:
            parameters["start"] = options.start
        if options.slices is not None:
            parameters["slices"] = options.slices
        self._call(now, State.REGISTERING, "registerConsumer", parameters)

    def _ask(self, now: float, state: State) -> None:
        parameters = {**self._consumer(), "want": self.options.want}
        if self._older < 2:
            parameters["origin"] = True
            if self.options.fields:
                parameters["fields"] = self.options.fields
        if self._older < 1:
            parameters["partial"] = True
        self._call(now, state, "readyToReceive", parameters)

    def _answered(self, now: float, answer: wire.Answer) -> None:
        if self.state is State.STOPPING:
            self._end()
        elif self.state is State.BEATING:
            if answer.error is not None:
                return self._lost(now, answer.error)
            self._follow(answer)
            self._rest_until_beat(now)
        elif answer.error is not None:
            self._refused(now, answer.error)
        elif self.state is State.REGISTERING:
            self._is_registered = True
            self._ask(now, State.ASKING)
        else:
            # The answer comes before the first group of the session.
            self._attempts = 0
            self._order.new_session()
            self._follow(answer)
            self._rest_until_beat(now)
            self._tell("ready")

    def _rest_until_beat(self, now: float) -> None:
        self._become(State.READY, now + self.options.session_timeout / 3)

    def _follow(self, answer: wire.Answer) -> None:
        """Which generation of the stream the session is of."""
        origin = wire.origin(answer)
        self._source = Source(origin, slice=self.slice, slices=self.options.slices)
        if origin is None or origin.generation == self.generation:
            return
        went_back = self.generation is not None
        self.generation = origin.generation
        if went_back:
            self._order.new_generation()
            self._tell("generation")

    def _refused(self, now: float, error: EventStreamError) -> None:
        """There is no session for us now."""
        options = self.options
        if error.code == "InvalidRequest" and self.state is State.ASKING and self._older < 2:
            # It may be a parameter that this pusher does not know.
            self._older += 1
            self._ask(now, State.ASKING)
        elif error.code == "ConsumerBusy":
            self._tell("busy", error=error)
            pause = BUSY_PAUSE
            if self._slices is not None and self.slice is not None:
                other = self._slices.exchange(self.slice)
                if other != self.slice:
                    # Nothing of one slice counts for another.
                    self.slice, self._order, self.generation, pause = other, Order(options.max_batch), None, BUSY_PAUSE / 2
            self._become(State.RESTING, now + pause * self._draw.uniform(0.5, 1))
        elif error.code == "HistoryUnavailable" and len(options.endpoints) > 1:
            self._lost(now, error)  # another pusher may read the archive
        elif error.retriable or (error.code == "NotRegistered" and options.register and options.slices is None):
            self._tell("error", error=error)
            self._is_registered = False
            self._become(State.RESTING, now + self._pause())
        else:
            self._end(error)
