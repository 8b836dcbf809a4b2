"""Events to be processed, and what became of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Protocol

from ._events import Event, Origin


class Owner(Protocol):
    """The session of a batch."""

    def confirm(self, batch: Batch, count: int) -> None: ...
    def reject(self, batch: Batch, count: int, reason: str) -> None: ...
    def give_back(self, batch: Batch, count: int, reason: str) -> None: ...
    def release(self, batch: Batch) -> None: ...


class Batch:
    """Events to be processed and then confirmed: ``batch.events``, or ``for event in batch``.

    A batch that is neither confirmed nor rejected when the next one is asked for comes again.
    """

    events: tuple[Event, ...]
    """In the order of their ids, at least one, none confirmed before. All are of one slice."""
    parked: bool
    """Whether this is one event that failed before and was set aside, and an operator has delivered it again."""
    origin: Origin | None
    """Which stream the events are of; None if the pusher is too old to tell."""
    slice: int | None
    """Of which slice of the consumer the events are; None for a consumer without slices."""

    def __init__(self, events: tuple[Event, ...], ends: tuple[int, ...] = (), place: tuple[int, int, int] = (0, 0, 0)) -> None:
        source = events[0].source
        self.events, self.parked, self.origin, self.slice = events, source.parked, source.origin, source.slice
        self.owner: Owner | None = None
        self.report: Callable[..., None] = lambda what, *arguments: what(*arguments)
        """Calls the owner, in the thread that it belongs to."""
        self.is_over = False
        self.counted = 0
        self.ends = ends
        """How many events there are up to the end of each group: that is when the pusher gets an answer."""
        self.era, self.epoch, self.seq = place
        self._told = 0
        self._done = 0

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"<Batch of {len(self.events)} events, {self.events[0].id} to {self.events[-1].id}>"

    def confirm(self, *, through: Event | None = None) -> None:
        """Tells that events have been processed: they will not come again.

        Confirm events only when the result of the work is stored. Returns at once; the position is stored within a second.

        Args:
            through: One of the events: this event and those before it are confirmed, while the rest is being processed. None for all.
        Raises:
            ValueError: The event is not of this batch.
        """
        if self.is_over:
            return
        count = len(self.events) if through is None else self._position(through) + 1
        if count <= self._done:
            return
        self._done, self.is_over = count, count == len(self.events)
        if self.is_over or bisect_right(self.ends, self._told) < bisect_right(self.ends, count):
            self._told = count
            if self.owner:
                self.report(self.owner.confirm, self, count)

    def reject(self, event: Event | None = None, error: BaseException | str = "") -> None:
        """Tells that an event could not be processed; those before it count as processed.

        The event comes again after a pause of 0.1 s to 5 s, and the events after it come after it. An event that fails as often as its
        consumer allows is set aside (``EVT_MAX_ATTEMPTS``).

        Args:
            event: One of the events that is not confirmed. None if it is not known which one failed: then the events that are not
                confirmed come again at once, one in a batch, until it is known.
            error: The reason, for the pusher's log and ``evt status``; at most 1000 bytes of it.
        Raises:
            ValueError: The event is not of this batch, or is confirmed.
        """
        if self.is_over:
            return
        reason = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
        count = self._done if event is None else self._position(event)
        if count < self._done:
            raise ValueError(f"{event} is confirmed already")
        self.is_over = True
        if self.owner:
            self.report(self.owner.give_back if event is None else self.owner.reject, self, count, reason)

    def _position(self, event: Event) -> int:
        if self._done < len(self.events) and self.events[self._done].id == event.id:
            return self._done
        for index, each in enumerate(self.events):
            if each.id == event.id:
                return index
        raise ValueError(f"event {event.id} is not of this batch")

    @property
    def is_between_groups(self) -> bool:
        """Whether all that was confirmed is known to the pusher."""
        return self._done == self._told
