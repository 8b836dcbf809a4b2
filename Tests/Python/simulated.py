"""A pusher without sockets and without a database, as the protocol has it, and a user of a receiver: for the machine alone."""

from __future__ import annotations

import json
import random

from eventstream._session import Close, Open, Options, Send, Session


class Pusher:
    """Delivers events to one receiver. What it keeps survives its sessions; `wrong` is what the receiver should not have done."""

    def __init__(self, draw: random.Random, count: int, *, partial: bool = True, origin: bool = True, max_attempts: int | None = None):
        self.draw, self.partial, self.origin, self.max_attempts = draw, partial, origin, max_attempts
        self.generation = 1
        self.events = {number: f"first {number}" for number in range(1, count + 1)}
        self.position = 0
        self.attempts: dict[int, int] = {}
        self.parked: dict[int, bool] = {}
        """Whether each parked event is to be delivered again."""
        self.processed: dict[str, int] = {}
        """How often the user has processed what."""
        self.session = 0
        self.outgoing: list[dict] = []
        self.over()

    def over(self) -> None:
        """The session has ended."""
        self.in_session = False
        self.groups: dict[int, list[int]] = {}
        self.seq, self.sent, self.rids, self.retry = 0, self.position, {}, set()
        self.parked_seqs: set[int] = set()

    def disconnect(self) -> None:
        self.outgoing.clear()
        self.over()

    def begin(self, asked: dict) -> None:
        self.over()
        self.session += 1
        self.in_session, self.is_partial = True, asked.get("partial", False)

    def go_back(self) -> None:
        """To an earlier state: what follows it are other events under the same ids."""
        self.generation += 1
        self.position = self.draw.randint(0, self.position)
        self.events = {number: text if number <= self.position else f"{self.generation} {number}" for number, text in self.events.items()}
        self.attempts.clear()
        self.parked.clear()
        self.disconnect()

    # What comes from the receiver

    def received(self, message: dict) -> None:
        if "f" not in message:
            return self.answered(message)
        parameters, function = message["p"], message["f"].rpartition(":")[2]
        answer: dict = {"r": True}
        if function == "readyToReceive":
            if ("partial" in parameters and not self.partial) or ("origin" in parameters and not self.origin):
                answer = {"e": "InvalidRequest", "edesc": "unknown parameter"}
            else:
                if self.origin:
                    answer = {"r": {"stream": "s", "generation": str(self.generation), "start": None, "after": None, "common": None}}
                if not self.in_session:
                    self.begin(parameters)
        elif function == "stopReceiving":
            self.over()
        self.outgoing.append({**answer, "rid": message["rid"]})

    def answered(self, message: dict) -> None:
        seq = self.rids.pop(message["rid"], None)
        if seq is None or seq not in self.groups:
            return
        group, result = self.groups[seq], message.get("r")
        if seq in self.parked_seqs:
            del self.groups[seq]
            if result is True:
                del self.parked[group[0]]
            return
        if result is True:
            assert all(self.events[number] in self.processed for number in group), f"confirmed and not processed: {group}"
            self.groups[seq] = []
        elif isinstance(result, dict) and self.is_partial:
            through, failed = int(result["through"] or 0), int(result["failed"])
            done = [number for number in group if number <= through]
            assert all(self.events[number] in self.processed for number in done)
            left = group[len(done):]
            assert left and left[0] == failed, f"{failed} is not next of {group} after {through}"
            self.groups[seq] = left
            self.failed(failed)
            if seq in self.groups:
                self.retry.add(seq)
        else:
            self.failed(group[0])
            self.retry.add(seq)
        # Over the answered prefix.
        for number in sorted(self.groups):
            if self.groups[number] or number in self.parked_seqs:
                break
            del self.groups[number]
        first = min((group[0] for seq, group in self.groups.items() if group and seq not in self.parked_seqs), default=self.sent + 1)
        self.position = max(self.position, first - 1)

    def failed(self, number: int) -> None:
        self.attempts[number] = self.attempts.get(number, 0) + 1
        if self.max_attempts is not None and self.is_partial and self.attempts[number] >= self.max_attempts:
            self.parked[number] = False
            self.position = max(self.position, min(group[0] for group in self.groups.values() if group) - 1)
            self.begin({"partial": True})

    # What goes to the receiver

    def waiting(self) -> list[int]:
        return [number for number in self.events if number > self.sent and number not in self.parked]

    def send(self) -> None:
        """Something that a pusher may do now, if there is."""
        if not self.in_session:
            return
        unanswered = [seq for seq in self.groups if self.groups[seq] and (seq in self.retry or self.draw.random() < 0.1)]
        retried = [number for number, wanted in self.parked.items() if wanted and all(
            self.groups.get(seq) != [number] for seq in self.parked_seqs)]
        waiting = self.waiting()
        if unanswered and self.draw.random() < 0.5:
            seq = self.draw.choice(unanswered)
            self.retry.discard(seq)
            return self.call(seq)
        if len(self.groups) >= 4:
            return
        if retried and self.is_partial and self.draw.random() < 0.5:
            self.groups[self.seq] = [retried[0]]
            self.parked_seqs.add(self.seq)
        elif waiting:
            group = waiting[:self.draw.randint(1, 4)]
            self.groups[self.seq], self.sent = group, group[-1]
        else:
            return
        self.seq += 1
        self.call(self.seq - 1)

    def call(self, seq: int) -> None:
        rid = f"S{self.draw.random()}"
        self.rids[rid] = seq
        events = [{"id": str(number), "type": "A", "data": self.events[number], "ts": "2026-11-24T08:30:00Z"}
                  for number in self.groups[seq]]
        call = {"seq": seq, "events": events}
        if self.is_partial:
            call["session"] = self.session
        if seq in self.parked_seqs:
            call["parked"] = True
        self.outgoing.append({"f": "futoin.evt.receiver:1.1:onEvents", "p": call, "rid": rid})


class World:
    """A session of the package's, a pusher and a user, moved on at random."""

    def __init__(self, seed: int, *, count: int = 40, max_batch: int = 7, **pusher):
        self.draw = random.Random(seed)
        self.pusher = Pusher(self.draw, count, **pusher)
        self.session = Session(Options("A", ("tcp://a:1", "tcp://b:1"), max_batch=max_batch), draw=self.draw)
        self.now = 0.0
        self.link: list[dict] | None = None
        """What is on the way to the pusher."""
        self.batch, self.done, self.newest = None, 0, 0
        self.failing = {number: self.draw.randint(1, 3) for number in self.draw.sample(range(1, count + 1), count // 8)}
        self.broken = 0.3
        """How often what may go wrong does."""
        self.session.start(self.now)
        self.carry_out()

    def carry_out(self) -> None:
        for action in self.session.take_actions():
            if isinstance(action, Open):
                self.pusher.disconnect()
                self.link = []
                self.opening = True
            elif isinstance(action, Close):
                self.link = None
                self.pusher.disconnect()
            elif isinstance(action, Send):
                assert self.link is not None, "sent without a connection"
                self.link.append(json.loads(action.payload))

    def step(self) -> None:
        choice = self.draw.randrange(12)
        if choice < 3:
            if self.link:
                message = self.link.pop(0)
                # An answer may get lost with a timeout of the pusher's: it calls again.
                if "f" in message or self.draw.random() > self.broken / 3:
                    self.pusher.received(message)
            elif self.link is not None and self.opening:
                self.opening = False
                self.session.connected(self.now)
        elif choice < 6:
            if self.link is not None and not self.opening and self.pusher.outgoing:
                self.session.received(self.now, json.dumps(self.pusher.outgoing.pop(0)).encode())
        elif choice < 8:
            self.pusher.send()
        elif choice < 11:
            self.work()
        elif self.draw.random() < self.broken / 10:
            self.go_wrong()
        else:
            self.now += self.draw.choice((0.01, 0.3, 6))
            self.session.tick(self.now)
        for number in self.pusher.parked:
            if self.draw.random() < 0.01:
                self.pusher.parked[number] = True
        self.carry_out()

    def go_wrong(self) -> None:
        what = self.draw.choice(("lost", "restarted", "back"))
        if what == "back" and self.pusher.origin:
            self.pusher.go_back()
            self.newest = self.pusher.position
            self.link = None
            self.session.disconnected(self.now, "lost")
        elif what == "restarted" and self.pusher.in_session:
            # Without a word: on the same connection.
            self.pusher.begin({"partial": self.pusher.is_partial})
        elif self.link is not None:
            self.link = None
            self.pusher.disconnect()
            self.session.disconnected(self.now, "lost")

    def work(self) -> None:
        """As a user does."""
        if self.batch is None:
            self.batch, self.done = self.session.take(), 0
            if self.batch is None:
                return
            self.batch.owner = self.session
            self.generation = self.pusher.generation
            ids = [event.id for event in self.batch.events]
            assert 0 < len(ids) <= self.session.options.max_batch and ids == sorted(set(ids))
            return
        if self.draw.random() < self.broken / 10:
            self.batch.reject(error="not known which")
        else:
            event = self.batch.events[self.done]
            if self.failing.get(event.id, 0) > 0 and self.generation == self.pusher.generation:
                self.failing[event.id] -= 1
                if self.draw.random() < 0.5:
                    self.batch.reject(event, "poison")
                else:
                    self.batch.reject(error="poison")
            else:
                self.process(event)
                self.done += 1
                if self.done == len(self.batch):
                    self.batch.confirm()
                elif self.draw.random() < 0.5:
                    self.batch.confirm(through=event)
        if self.batch.is_over:
            self.batch = None

    def process(self, event) -> None:
        self.pusher.processed[event.data] = self.pusher.processed.get(event.data, 0) + 1
        if self.generation != self.pusher.generation or event.parked:
            return
        assert self.pusher.events[event.id] == event.data
        # In the order of ids, each once unless the user has said that it failed, none left out but those that are parked.
        assert event.id > self.newest or self.pusher.processed[event.data] > 1
        left_out = [number for number in range(self.newest + 1, event.id) if number not in self.pusher.parked
                    and self.pusher.events[number] not in self.pusher.processed]
        assert not left_out, f"{left_out} left out before {event.id}"
        self.newest = max(self.newest, event.id)

    @property
    def is_done(self) -> bool:
        return not self.pusher.waiting() and self.pusher.position >= len(self.pusher.events) and not self.pusher.parked
