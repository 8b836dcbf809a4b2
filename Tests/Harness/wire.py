"""A small client of the event stream, over ZeroMQ and JSON.

Read it as an example: `Peer` is all that an event source, a poller or a receiver needs.

    source = Peer("tcp://127.0.0.1:5570")
    source.add_event("USR_ADD", {"name": "Ada"})            # -> "17"

    receiver = Peer("tcp://127.0.0.1:5571")
    receiver.register("mailer")
    receiver.ready("mailer", want=["USR_ADD"])
    while True:
        group = receiver.next_group()                       # the pusher calls us
        send_mail_about(group.events)
        receiver.accept(group)                              # only now is it done

Every wait has a deadline; a message that never comes raises `NoMessage`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import zmq

from Harness.sockets import Dealer, new_socket
from Harness.waiting import PATIENCE

PING = "futoin.ping:1.0"
GEN = "futoin.evt.gen:1.1"
POLL = "futoin.evt.poll:1.1"
PUSH = "futoin.evt.push:1.1"
ON_EVENTS = "futoin.evt.receiver:1.1:onEvents"

class CallError(Exception):
    """An error answer. `name` is the protocol's error name, `text` the explanation for people."""

    def __init__(self, name: str, text: str | None):
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class NoMessage(AssertionError):
    """Nothing came within the deadline."""


@dataclass
class Message:
    """One message as received: its JSON object, its exact text, and how it was framed."""

    body: dict
    text: str
    delimited: bool

    @classmethod
    def parse(cls, frames: list[bytes]) -> Message:
        """Reads `[payload]` or `[empty, payload]`; anything else breaks the protocol."""
        delimited = len(frames) == 2 and frames[0] == b""
        assert delimited or len(frames) == 1, f"unexpected framing: {len(frames)} frames"
        text = frames[-1].decode("utf-8")
        body = json.loads(text)
        assert isinstance(body, dict), f"not a JSON object: {text[:200]}"
        return cls(body, text, delimited)

    @property
    def error(self) -> str | None:
        """The error name, or None for a result."""
        return self.body.get("e")

    def result(self):
        """The result of the call; an error answer is raised."""
        if "e" in self.body:
            raise CallError(self.body["e"], self.body.get("edesc"))
        return self.body["r"]


@dataclass
class Group:
    """One onEvents call of the pusher: a group of events that waits for our answer."""

    rid: str
    seq: int
    events: list[dict]
    message: Message

    @classmethod
    def of(cls, message: Message) -> Group:
        assert message.body["f"] == ON_EVENTS, f"called with {message.body['f']}"
        params = message.body["p"]
        return cls(message.body["rid"], params["seq"], params["events"], message)

    @property
    def ids(self) -> list[int]:
        return [int(event["id"]) for event in self.events]


class Peer(Dealer):
    """Waits for what it wants: calls out, answers in, and onEvents calls from the pusher.

    `delimiter` puts an empty frame before each request, as a REQ socket would.
    """

    def __init__(self, endpoint: str, *, delimiter: bool = False, **options):
        self.delimiter = delimiter
        self.received: list[Message] = []
        """Everything that has come, in order of arrival."""
        self._answers: list[Message] = []
        self._groups: list[Group] = []
        super().__init__(endpoint, **options)

    def prepare(self) -> None:
        self.socket.setsockopt(zmq.SNDTIMEO, int(PATIENCE * 1000))

    def send(self, payload: str | bytes) -> None:
        """Sends one payload, framed as this peer does."""
        payload = payload.encode("utf-8") if isinstance(payload, str) else payload
        self.send_frames(*([b"", payload] if self.delimiter else [payload]))

    # Receiving

    def _receive(self, seconds: float) -> bool:
        """Takes in one message, if one comes in time."""
        if not self.socket.poll(max(0, int(seconds * 1000)) + 1):
            return False
        message = Message.parse(self.socket.recv_multipart())
        self.received.append(message)
        if "f" in message.body:
            self._groups.append(Group.of(message))
        else:
            self._answers.append(message)
        return True

    def _take(self, queue: list, wanted, what: str, timeout: float):
        """Removes and returns the first wanted entry of the queue, waiting for it if need be."""
        deadline = time.monotonic() + timeout
        while True:
            for index, entry in enumerate(queue):
                if wanted(entry):
                    return queue.pop(index)
            if not self._receive(deadline - time.monotonic()):
                raise NoMessage(f"no {what} within {timeout} s")

    def answer(self, rid: str | None, timeout: float = PATIENCE) -> Message:
        """Waits for the answer to one call; rid None stands for an answer without rid."""
        return self._take(self._answers, lambda answer: answer.body.get("rid") == rid,
                          f"answer to {rid}", timeout)

    def next_answer(self, timeout: float = PATIENCE) -> Message:
        """Waits for the next answer, whichever call it belongs to."""
        return self._take(self._answers, lambda answer: True, "answer", timeout)

    def next_group(self, timeout: float = PATIENCE) -> Group:
        """Waits for the pusher's next onEvents call. It stays unanswered."""
        return self._take(self._groups, lambda group: True, "onEvents call", timeout)

    def groups_within(self, seconds: float) -> list[Group]:
        """The onEvents calls that come in this time; to see that there are none."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._receive(left)
        groups, self._groups[:] = list(self._groups), []
        return groups

    # Answering the pusher

    def reply(self, group: Group, reply: dict) -> None:
        """Answers the call with this."""
        payload = json.dumps({**reply, "rid": group.rid}).encode("utf-8")
        self.send_frames(*([b"", payload] if group.message.delimited else [payload]))

    def accept(self, group: Group) -> None:
        """Tells the pusher that the group is processed."""
        self.reply(group, {"r": True})

    def refuse(self, group: Group, error: str = "InternalError") -> None:
        """Tells the pusher that the group could not be processed; it will come again."""
        self.reply(group, {"e": error, "edesc": "not now"})

    def receive_events(self, count: int) -> list[dict]:
        """Accepts groups until that many events have come, and returns the events."""
        events: list[dict] = []
        while len(events) < count:
            group = self.next_group()
            self.accept(group)
            events += group.events
        return events

    def receive_until(self, event_id: str) -> list[str]:
        """Accepts groups until this event has come, and returns the ids of all events."""
        ids: list[str] = []
        while event_id not in ids:
            ids += [event["id"] for event in self.receive_events(1)]
        return ids

    # The calls of the protocol, each waiting for its answer

    def call(self, function: str, **params):
        """Calls and waits: the result is returned, an error answer raised as CallError."""
        return self.answer(self.request(function, params)).result()

    def ping(self, echo: int = 1) -> dict:
        """Answered with `{"echo": echo}`; also the cheapest way to renew a session."""
        return self.call(f"{PING}:ping", echo=echo)

    def is_served(self, timeout: float = 0.5) -> bool:
        """Whether a ping is answered in time, and not refused."""
        try:
            return self.answer(self.request(f"{PING}:ping", {"echo": 1}), timeout).result() == {"echo": 1}
        except (NoMessage, CallError, zmq.Again):
            return False

    def add_event(self, event_type: str, data=None, **more) -> str:
        """Records an event, and returns its id once it is durable."""
        return self.call(f"{GEN}:addEvent", type=event_type, data=data, **more)

    def add_event_text(self, event_type: str, data: str) -> str:
        """Records an event whose data is this very JSON text, not touched by Python's json."""
        rid = f"C{next(self._numbers)}"
        self.send(f'{{"f":"{GEN}:addEvent","p":{{"type":"{event_type}","data":{data}}},"rid":"{rid}"}}')
        return self.answer(rid).result()

    def register(self, component: str) -> bool:
        """Makes a consumer known; needed once, and harmless ever after."""
        return self.call(f"{PUSH}:registerConsumer", component=component)

    def poll(self, component: str, last_id: str | None = None,
             want: list[str] | None = None, **more) -> list[dict]:
        """Fetches the events after `last_id`, which it confirms."""
        return self.call(f"{POLL}:pollEvents", component=component, last_id=last_id, want=want, **more)

    def ready(self, component: str, want: list[str] | None = None, **more) -> bool:
        """Starts (or renews) a session: from now on the pusher calls us with groups of events."""
        return self.call(f"{PUSH}:readyToReceive", component=component, want=want, **more)

    def lag(self, component: str, interface: str = PUSH) -> dict:
        """How far the consumer is behind."""
        return self.call(f"{interface}:lag", component=component)

    def stop(self, component: str) -> bool:
        """Ends the session at once."""
        return self.call(f"{PUSH}:stopReceiving", component=component)


class Caller:
    """A plain REQ socket: one call at a time."""

    def __init__(self, endpoint: str):
        self.socket = new_socket(zmq.REQ)
        self.socket.connect(endpoint)

    def exchange(self, payload: str | bytes) -> Message:
        """Sends a payload and waits for its answer (REQ adds and strips the empty delimiter)."""
        self.socket.send(payload.encode("utf-8") if isinstance(payload, str) else payload)
        if not self.socket.poll(int(PATIENCE * 1000)):
            raise NoMessage("no answer on the REQ socket")
        return Message.parse(self.socket.recv_multipart())

    def close(self) -> None:
        self.socket.close(linger=0)


class Subscriber:
    """A plain SUB socket on the live broadcast; `prefixes` are event types or their beginnings."""

    def __init__(self, endpoint: str, *prefixes: str, keys=None):
        self.socket = new_socket(zmq.SUB, keys)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        for prefix in prefixes:
            self.socket.setsockopt(zmq.SUBSCRIBE, prefix.encode("ascii"))
        self.socket.connect(endpoint)

    def next_frames(self, timeout: float = PATIENCE) -> list[bytes]:
        """Waits for the next message."""
        if not self.socket.poll(int(timeout * 1000)):
            raise NoMessage(f"no broadcast within {timeout} s")
        return self.socket.recv_multipart()

    def next_event(self, timeout: float = PATIENCE) -> dict:
        """Waits for the next event."""
        topic, payload = self.next_frames(timeout)
        event = json.loads(payload)
        assert topic.decode("ascii") == event["type"]
        return event

    def close(self) -> None:
        self.socket.close(linger=0)
