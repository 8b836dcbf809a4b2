"""A reliable receiver: gets every event, in order, at least once, and confirms what it has processed.

    python3 receiver.py COMPONENT [TYPE ...]
"""
import os
import queue
import sys
import threading

import zmq

ON_EVENTS = "futoin.evt.receiver:1.1:onEvents"
KEEP_ALIVE = 5
"""Seconds. After so long without a message the receiver gives a sign of life."""
DONE = {"r": True}


def process(event: dict) -> None:
    """Your work goes here, and may take long. If it raises, the event comes again after a pause, and nothing later is processed before."""
    print(event["id"], event["type"], event["data"], flush=True)


def unprocessed(event: dict, reason: Exception, through: str | None = None) -> dict:
    """The answer to a group of which the events up to `through` are processed, and the next one cannot be."""
    print(f"event {event['id']} failed, and comes again: {reason}", file=sys.stderr, flush=True)
    return {"r": {"through": through, "failed": event["id"], "error": str(reason)}}


class Receiver:
    def __init__(self, endpoint: str, component: str, want: list[str] | None = None):
        self.component, self.want = component, want
        self.number = 0
        # The newest event processed, and the stream and generation it is of. inbox.py makes processing exact across restarts.
        self.last_id, self.origin = 0, {"generation": None}
        # The session, the group whose turn it is by its seq, those that came before their turn, and parked ones that failed.
        self.session, self.turn, self.waiting, self.failed = None, 0, {}, {}
        # A thread works on one group at a time, and says when it is done; the session is kept meanwhile.
        self.groups, self.working = queue.SimpleQueue(), None
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        # In milliseconds: a connection that the network has lost without a word is made anew.
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 5000, 15000
        self.socket.connect(endpoint)
        self.results = zmq.Context.instance().socket(zmq.PAIR)
        self.results.bind(f"inproc://{id(self)}")

    def run(self) -> None:
        threading.Thread(target=self.work, daemon=True).start()
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.results, zmq.POLLIN)
        self.ask()
        while True:
            ready = dict(poller.poll(KEEP_ALIVE * 1000))
            if not ready:
                self.ask()
            if self.results in ready:
                self.worked(*self.results.recv_json())
            if self.socket in ready:
                self.received(self.socket.recv_json())

    def received(self, message: dict) -> None:
        if message.get("f") == ON_EVENTS:
            self.arrived(message["p"], message["rid"])
        elif "e" in message:
            # Another receiver has the consumer, or the pusher has no database: the next sign of life asks again.
            print(f"{message['e']}: {message.get('edesc', '')}", file=sys.stderr, flush=True)
        elif isinstance(message.get("r"), dict) and message["r"]["generation"] != self.origin["generation"]:
            # The database failed over or was restored: ids may come again with other events.
            self.origin = message["r"]
            self.last_id, self.session, self.turn, self.waiting, self.failed = 0, None, 0, {}, {}

    def ask(self) -> None:
        """Asks for events; again, it is the sign of life that keeps the session."""
        self.call("registerConsumer", component=self.component)
        self.call("readyToReceive", component=self.component, want=self.want, origin=True, partial=True, precise=True)

    def call(self, function: str, **parameters) -> None:
        self.number += 1
        self.socket.send_json({"f": f"futoin.evt.push:1.1:{function}", "p": parameters, "rid": f"C{self.number}"})

    def arrived(self, call: dict, rid: str) -> None:
        """Groups are processed in the order of seq. What is left of one that failed comes again; later ones wait for it."""
        session, seq = call["session"], call["seq"]
        if session != self.session:
            # Another session begins with seq 0. Groups of the session before are void.
            self.session, self.turn, self.waiting, self.failed = session, 0, {}, {}
        if seq < self.turn:
            return self.answer(rid, self.failed.get(seq, DONE))  # processed before: the answer was lost
        self.waiting[seq] = (call, rid)
        self.begin()

    def begin(self) -> None:
        """Has the next group processed."""
        if self.working is None and self.turn in self.waiting:
            self.working = self.waiting[self.turn][0]
            self.groups.put((self.working, self.origin, self.last_id))

    def work(self) -> None:
        """The thread that works."""
        results = zmq.Context.instance().socket(zmq.PAIR)
        results.connect(f"inproc://{id(self)}")
        while True:
            call, origin, last_id = self.groups.get()
            results.send_json([*self.processed(call, origin, last_id), origin["generation"]])

    def processed(self, call: dict, origin: dict, last_id: int) -> tuple[dict, int]:
        """Processes a group; returns the answer to it, and the newest event processed."""
        through, is_parked = None, call.get("parked", False)
        for event in call["events"]:
            try:
                # What an earlier session brought may come again. A parked event comes again on purpose, behind later ones.
                if is_parked or int(event["id"]) > last_id:
                    process(event)
                    # A parked event says nothing of those before it.
                    last_id = last_id if is_parked else int(event["id"])
            except Exception as error:
                return unprocessed(event, error, through), last_id
            through = event["id"]
        return DONE, last_id

    def worked(self, answer: dict, last_id: int, generation: str) -> None:
        call, self.working = self.working, None
        if generation == self.origin["generation"]:
            self.last_id = max(self.last_id, last_id)
        # Where the session has changed meanwhile, nobody waits for the answer; what was processed is known when it comes again.
        if call["session"] == self.session:
            self.answer(self.waiting.pop(call["seq"])[1], answer)
            is_parked = call.get("parked", False)
            if is_parked and answer != DONE:
                self.failed[call["seq"]] = answer  # it does not come again by itself
            if is_parked or answer == DONE:
                self.turn += 1
        self.begin()

    def answer(self, rid: str, outcome: dict) -> None:
        self.socket.send_json({**outcome, "rid": rid})


if __name__ == "__main__":
    try:
        Receiver(os.environ.get("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"), sys.argv[1], sys.argv[2:] or None).run()
    except KeyboardInterrupt:
        sys.exit(130)
