"""A reliable receiver: gets every event, in order, at least once, and confirms what it has processed.

    python3 receiver.py COMPONENT [TYPE ...]
"""
import os
import sys

import zmq

ON_EVENTS = "futoin.evt.receiver:1.1:onEvents"
KEEP_ALIVE = 5
"""Seconds. After so long without a message the receiver gives a sign of life."""


def process(event: dict) -> None:
    """Your work goes here. If it raises, the event comes again after a pause, and nothing later is processed before."""
    print(event["id"], event["type"], event["data"], flush=True)


class Receiver:
    def __init__(self, endpoint: str, component: str, want: list[str] | None = None):
        self.component, self.want = component, want
        self.number = 0
        # The newest event processed, and the stream and generation it is of. inbox.py makes processing exact across restarts.
        self.last_id, self.origin = 0, {"generation": None}
        # The session, the group whose turn it is by its seq, those that came before their turn, and parked ones that failed.
        self.session, self.turn, self.waiting, self.failed = None, 0, {}, {}
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        # In milliseconds: a connection that the network has lost without a word is made anew.
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 5000, 15000
        self.socket.connect(endpoint)

    def run(self) -> None:
        self.ask()
        while True:
            if not self.socket.poll(KEEP_ALIVE * 1000):
                self.ask()
                continue
            message = self.socket.recv_json()
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
            return self.answer(rid, r=self.failed.get(seq, True))  # processed before: the answer was lost
        self.waiting[seq] = (call, rid)
        while self.turn in self.waiting and self.processed(*self.waiting.pop(self.turn)):
            self.turn += 1

    def processed(self, call: dict, rid: str) -> bool:
        """Whether the next group may be processed."""
        through, is_parked = None, call.get("parked", False)
        for event in call["events"]:
            try:
                # What an earlier session brought may come again. A parked event comes again on purpose, behind later ones.
                if is_parked or int(event["id"]) > self.last_id:
                    process(event)
                    # A parked event says nothing of those before it.
                    self.last_id = self.last_id if is_parked else int(event["id"])
            except Exception as error:
                print(f"event {event['id']} failed, and comes again: {error}", file=sys.stderr, flush=True)
                answer = {"through": through, "failed": event["id"], "error": str(error)}
                self.answer(rid, r=answer)
                if is_parked:
                    self.failed[call["seq"]] = answer  # it does not come again by itself
                return is_parked
            through = event["id"]
        self.answer(rid, r=True)
        return True

    def answer(self, rid: str, **outcome) -> None:
        self.socket.send_json({**outcome, "rid": rid})


if __name__ == "__main__":
    try:
        Receiver(os.environ.get("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"), sys.argv[1], sys.argv[2:] or None).run()
    except KeyboardInterrupt:
        sys.exit(130)
