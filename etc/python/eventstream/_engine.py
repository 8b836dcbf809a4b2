"""The sockets of a receiver, and the sessions that they serve. Whoever waits for the sockets, a thread or an event loop, calls
:meth:`Engine.turn`."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from ._batch import Batch
from ._destination import Destination
from ._errors import EventStreamError
from ._session import Close, Open, Options, Progress, Send, Session, Slices

_REFUSALS = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_LOSSES = (
    _REFUSALS | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED)
LARGEST_MESSAGE = 4 * 8 * 1024 * 1024


@dataclass(frozen=True)
class Connected:
    """Messages can flow."""


@dataclass(frozen=True)
class Lost:
    reason: str


class Link:
    """One connection; when it is lost, it stays lost."""

    def __init__(self, context: zmq.Context[Any], destination: Destination, endpoint: str) -> None:
        self._endpoint = endpoint
        self._was_connected = False
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        try:
            destination.set_on(self.socket)
            # Nothing is sent before there is a connection; what may wait is bounded by the pusher's window.
            self.socket.immediate = True
            self.socket.reconnect_ivl = -1
            self.socket.sndhwm = self.socket.rcvhwm = 0
            self.socket.maxmsgsize = LARGEST_MESSAGE
            self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _LOSSES)
            self.socket.connect(endpoint)
        except BaseException:
            self.socket.close(0)
            raise

    def happened(self) -> Iterator[bytes | Connected | Lost]:
        """What has happened since the last time."""
        lost = None
        while not self.socket.closed:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.DONTWAIT))["event"]
            except zmq.Again:
                break
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._was_connected = True
                yield Connected()
            elif event & _REFUSALS:
                lost = Lost(f"{self._endpoint} refuses the handshake: are the keys those of this server, and is ours authorized?")
            else:
                lost = lost or Lost(
                    f"the connection to {self._endpoint} was lost" if self._was_connected else f"nobody answers at {self._endpoint}")
        while not self.socket.closed:
            try:
                yield self.socket.recv_multipart(zmq.DONTWAIT)[-1]
            except zmq.Again:
                break
        if lost and not self.socket.closed:
            yield lost

    def send(self, payload: bytes) -> None:
        try:
            self.socket.send(payload, zmq.DONTWAIT)
        except zmq.Again:
            pass  # the connection is gone; the monitor tells so

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


class Lane:
    """A session and its connection. A slice has one of its own."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.link: Link | None = None


class Engine:
    """Moves the sessions of a receiver on, and hands their batches out. For one thread."""

    def __init__(
        self, options: Options, destination: Destination, limit: int, fixed_slice: int | None, logger: logging.Logger,
        on_progress: Callable[[Progress], None] | None
    ) -> None:
        draw = random.Random()
        slices = None
        if options.slices is not None:
            slices = Slices(range(options.slices) if fixed_slice is None else [fixed_slice], draw)
        self.lanes = [Lane(Session(options, slices, draw)) for _ in range(limit)]
        self.error: EventStreamError | None = None
        """Why the receiver has ended by itself."""
        self.watch: Callable[[Link], None] = lambda link: None
        self.unwatch: Callable[[Link], None] = lambda link: None
        """Called when there is a link more, and before one is closed."""
        self._name, self._destination, self._logger, self._on_progress = options.component, destination, logger, on_progress
        self._context: zmq.Context[Any] = zmq.Context()
        self._waiting: deque[Callable[[Batch | None], None]] = deque()
        self._is_quiet = False
        self._said: dict[int | None, str] = {}
        """Of each slice."""

    # What the user wants

    def start(self) -> None:
        for lane in self.lanes:
            lane.session.start(time.monotonic())

    def request(self, deliver: Callable[[Batch | None], None]) -> None:
        """Whoever asks gets the next batch, or None in the end."""
        self._waiting.append(deliver)

    def forget(self, deliver: Callable[[Batch | None], None]) -> None:
        """The opposite."""
        if deliver in self._waiting:
            self._waiting.remove(deliver)

    def quiesce(self) -> None:
        """Hands no more batches out. Those that are out may be reported."""
        self._is_quiet = True

    def stop(self) -> None:
        """Ends the sessions."""
        self.quiesce()
        for lane in self.lanes:
            lane.session.stop(time.monotonic())

    # What the sockets bring

    def turn(self) -> None:
        """Does all there is to do now."""
        goes_on = True
        while goes_on:
            # ZMQ_FD is edge-triggered, and sending may have taken the edge: until nothing happens any more.
            goes_on = False
            for lane in self.lanes:
                goes_on |= self._turn(lane)
            self._hand_out()
            for lane in self.lanes:
                goes_on |= self._carry_out(lane)
        ended = next((lane.session for lane in self.lanes if lane.session.error is not None), None)
        if ended is not None and self.error is None:
            self.error = ended.error
            self.stop()
            self.turn()

    def _turn(self, lane: Lane) -> bool:
        happened = False
        for what in lane.link.happened() if lane.link else ():
            happened = True
            now = time.monotonic()
            if isinstance(what, Connected):
                lane.session.connected(now)
            elif isinstance(what, Lost):
                lane.session.disconnected(now, what.reason)
            else:
                lane.session.received(now, what)
            self._carry_out(lane)
        lane.session.tick(time.monotonic())
        return happened

    def _carry_out(self, lane: Lane) -> bool:
        actions = lane.session.take_actions()
        for action in actions:
            if isinstance(action, Send):
                if lane.link:
                    lane.link.send(action.payload)
            elif isinstance(action, Open):
                self._close(lane)
                try:
                    lane.link = Link(self._context, self._destination, action.endpoint)
                    self.watch(lane.link)
                except zmq.ZMQError as error:
                    # Out of descriptors, perhaps; that may pass.
                    lane.session.disconnected(time.monotonic(), str(error))
            elif isinstance(action, Close):
                self._close(lane)
            else:
                self._tell(action)
        return bool(actions)

    def _close(self, lane: Lane) -> None:
        if lane.link:
            self.unwatch(lane.link)
            lane.link.close()
            lane.link = None

    def _hand_out(self) -> None:
        for lane in list(self.lanes):
            if not self._waiting or self._is_quiet:
                break
            batch = lane.session.take()
            if batch is not None:
                batch.owner = lane.session
                # Its turn comes after the others'.
                self.lanes.remove(lane)
                self.lanes.append(lane)
                self._waiting.popleft()(batch)
        while self._waiting and (self._is_quiet or self.has_ended):
            self._waiting.popleft()(None)

    @property
    def links(self) -> list[Link]:
        return [lane.link for lane in self.lanes if lane.link]

    @property
    def seconds(self) -> float:
        """Until the next turn is due if nothing happens; perhaps infinite."""
        return max(0.0, min(lane.session.deadline for lane in self.lanes) - time.monotonic())

    @property
    def has_ended(self) -> bool:
        return all(lane.session.has_ended for lane in self.lanes)

    def close(self) -> None:
        """Lets everything go."""
        for lane in self.lanes:
            self._close(lane)
        self._context.term()

    # What is told

    def _tell(self, progress: Progress) -> None:
        self._log(progress)
        if self._on_progress is not None:
            try:
                self._on_progress(progress)
            except Exception:
                self._logger.exception("%s: on_progress failed", self._name)

    def _log(self, progress: Progress) -> None:
        name = self._name if progress.slice is None else f"{self._name}, slice {progress.slice}"
        if progress.what == "ready":
            level, text = logging.INFO, f"receives from {progress.endpoint}"
        elif progress.what == "generation":
            level, text = logging.WARNING, "the database went back, by a fail-over or a restore; goes on from its position there"
        elif progress.what == "busy":
            # With slices that is how they are shared.
            level = logging.INFO if progress.slice is None else logging.DEBUG
            text = "stands by; another receiver has the session"
        elif progress.what == "error":
            level, text = logging.WARNING, f"no session, tries again: {progress.error}"
        else:
            return
        # What is the case again and again is said once.
        what = f"{progress.what} {progress.error and progress.error.code}"
        self._logger.log(logging.DEBUG if self._said.get(progress.slice) == what else level, "%s: %s", name, text)
        self._said[progress.slice] = what
