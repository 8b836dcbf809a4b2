"""The receiving side of a session: order, duplicates, and what is answered (protocol, section 5).

No I/O and no clock. A group is answered when all its events have been processed; the rule that keeps events safe is that nothing else
is ever answered with true.
"""

from __future__ import annotations

from typing import Any

from ._batch import Batch
from ._events import Event
from ._wire import OnEvents

DONE: dict[str, Any] = {"r": True}
WINDOW = 1024
"""Groups that wait at most: more than any pusher sends."""


def failure(reason: str) -> dict[str, Any]:
    return {"e": "InternalError", "edesc": reason[:1000]}


class Order:
    """Groups arrive in any order; their events are handed out as batches, one batch at a time, in the order of the stream."""

    def __init__(self, max_batch: int = 1000) -> None:
        self.max_batch = max_batch
        self.answers: list[tuple[str, dict[str, Any]]] = []
        """What is to be answered, by the rid of the call; whoever sends the answers takes them away."""
        self.newest = 0
        """Everything up to here was processed. Outlives sessions; of one generation of the stream."""
        self._era = 0
        """Counts generations, and the epoch sessions: a batch may outlive both."""
        self._epoch = 0
        self._session: int | None = None
        self._next = 0
        """The seq whose turn it is."""
        self._kept: dict[int, OnEvents] = {}
        """Groups that are not answered."""
        self._extents: dict[int, tuple[int, int]] = {}
        """The first and last id that came under a seq whose turn is now or later."""
        self._failed: dict[int, dict[str, Any]] = {}
        """What was answered for parked events that failed again: they do not come again by themselves."""
        self._out: Batch | None = None
        self._one_by_one = 0
        """Up to this id an event fails, and it is not known which one: each is a batch of its own."""

    # What happens

    def new_session(self) -> None:
        """Groups of the session before are void."""
        self._epoch += 1
        self._session, self._next, self._kept, self._extents, self._failed = None, 0, {}, {}, {}

    def new_generation(self) -> None:
        """The database went back: ids that were processed may come again with other events."""
        self.new_session()
        self._era += 1
        self.newest = self._one_by_one = 0

    def arrived(self, group: OnEvents) -> None:
        """A group has come; perhaps again, because its answer was lost."""
        if group.session is not None and group.session != self._session:
            self.new_session()
            self._session = group.session
        if group.session is None:
            self._look_for_new_session(group)
        if group.seq < self._next:
            self.answers.append((group.rid, self._failed.get(group.seq, DONE)))
        elif group.seq - self._next >= WINDOW:
            self.answers.append((group.rid, {"e": "InvalidRequest", "edesc": f"seq {group.seq} is too far ahead"}))
        else:
            self._kept[group.seq] = group

    def _look_for_new_session(self, group: OnEvents) -> None:
        """A pusher without partial processing does not tell of a new session: the numbers do (rules 2 and 3 of the protocol)."""
        extent = group.events[0].id, group.events[-1].id
        if group.seq < self._next:
            if extent[1] > self.newest:
                self.new_session()
                self._next = group.seq
        elif self._extents.get(group.seq) != extent:
            for later in [seq for seq in self._kept if seq > group.seq]:
                del self._kept[later], self._extents[later]
        if group.seq >= self._next:
            self._extents[group.seq] = extent

    def take(self) -> Batch | None:
        """The next batch; None if there is nothing, or the batch before is not reported."""
        if self._out is not None:
            return None
        self._settle()
        group = self._kept.get(self._next)
        if group is None:
            return None
        place = self._era, self._epoch, self._next
        if group.parked:
            self._out = Batch(group.events, (1,), place)
            return self._out
        limit = 1 if self.newest < self._one_by_one else self.max_batch
        events: list[Event] = []
        ends: list[int] = []
        seq = self._next
        while group is not None and not group.parked and len(events) < limit:
            newest = events[-1].id if events else self.newest
            fresh = [event for event in group.events if event.id > newest]
            events += fresh[:limit - len(events)]
            if not fresh or events[-1] is fresh[-1]:
                ends.append(len(events))
            seq += 1
            group = self._kept.get(seq)
        self._out = Batch(tuple(events), tuple(ends), place)
        return self._out

    # What became of the batch that is out

    def confirm(self, batch: Batch, count: int) -> None:
        """So many of its events have been processed, from the first on."""
        if batch is not self._out:
            return
        if count == len(batch.events):
            self._out = None
        if not batch.parked:
            if count > 0 and batch.era == self._era:
                self.newest = max(self.newest, batch.events[count - 1].id)
            self._settle()
        elif self._out is None:
            self._answer_parked(batch, DONE)

    def reject(self, batch: Batch, count: int, reason: str) -> None:
        """So many of its events have been processed, and the one after these could not be."""
        if batch is not self._out:
            return
        failed = batch.events[count].id
        partly: dict[str, Any] = {"r": {"through": None, "failed": str(failed), "error": reason[:1000]}}
        if batch.parked:
            self._out = None
            return self._answer_parked(batch, partly)
        self.confirm(batch, count)
        self._out = None
        group = self._kept.get(self._next)
        if batch.era != self._era or group is None or all(event.id != failed for event in group.events):
            return  # the session is another one, and the event comes again anyway
        del self._kept[self._next]
        before = [event.id for event in group.events if event.id < failed]
        partly["r"]["through"] = str(before[-1]) if before else None
        self.answers.append((group.rid, partly if group.session is not None else failure(reason)))

    def give_back(self, batch: Batch, count: int, reason: str) -> None:
        """So many of its events have been processed, and one of the others could not be; it is not known which one."""
        if batch is not self._out:
            return
        if len(batch.events) - count == 1:
            return self.reject(batch, count, reason)
        self.confirm(batch, count)
        self._out = None
        if batch.era == self._era:
            self._one_by_one = batch.events[-1].id

    def release(self, batch: Batch) -> None:
        """Nobody has looked at it."""
        if batch is self._out:
            self._out = None

    def _answer_parked(self, batch: Batch, outcome: dict[str, Any]) -> None:
        # In another session it comes again.
        if batch.epoch != self._epoch or self._next != batch.seq:
            return
        group = self._kept.pop(self._next)
        self._next += 1
        if outcome is not DONE:
            self._failed[batch.seq] = outcome
        self.answers.append((group.rid, outcome))

    def _settle(self) -> None:
        """Answers the groups whose turn it is and all of whose events were processed."""
        while (group := self._kept.get(self._next)) and not group.parked and group.events[-1].id <= self.newest:
            self.answers.append((group.rid, DONE))
            del self._kept[self._next]
            self._extents.pop(self._next, None)
            self._next += 1
