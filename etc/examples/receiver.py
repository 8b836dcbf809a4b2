"""A reliable receiver: gets every event, in order, at least once, and confirms what it has processed.

    python3 receiver.py COMPONENT [TYPE ...]
"""
import os
import sys

import zmq

ON_EVENTS = "futoin.evt.receiver:1.1:onEvents"


def process(event: dict) -> None:
    """Your work goes here. If it raises, the event comes again after a pause, and nothing later is processed before."""
    print(event["id"], event["type"], event["data"], flush=True)


class Receiver:
    def __init__(self, endpoint: str, component: str, want: list[str] | None = None):
        self.component, self.want = component, want
        self.number = 0
        # The newest event processed, and the generation of the stream it is of; kept with your data, they make processing
        # exact across restarts.
        self.last_id, self.generation = 0, None
        # The group whose turn it is, by its seq; those that came before their turn; and the ids that came under each.
        self.turn, self.waiting, self.ids = 0, {}, {}
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        # In milliseconds: a connection that the network has lost without a word is made anew.
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 5000, 15000
        self.socket.connect(endpoint)

    def run(self) -> None:
        self.ask()
        while True:
            if not self.socket.poll(5000):
                self.ask()
                continue
            message = self.socket.recv_json()
            if message.get("f") == ON_EVENTS:
                self.arrived(message["p"]["seq"], message["p"]["events"], message["rid"])
            elif "e" in message:
                # Another receiver has the consumer, or the pusher has no database: the next sign of life asks again.
                print(f"{message['e']}: {message.get('edesc', '')}", file=sys.stderr, flush=True)
            elif isinstance(message.get("r"), dict) and message["r"]["generation"] != self.generation:
                # The database failed over or was restored: ids may come again with other events.
                self.generation = message["r"]["generation"]
                self.last_id, self.turn, self.waiting, self.ids = 0, 0, {}, {}

    def ask(self) -> None:
        """Asks for events; again, it is the sign of life that keeps the session."""
        self.call("registerConsumer", component=self.component)
        self.call("readyToReceive", component=self.component, want=self.want, origin=True)

    def call(self, function: str, **parameters) -> None:
        self.number += 1
        self.socket.send_json({"f": f"futoin.evt.push:1.1:{function}", "p": parameters, "rid": f"C{self.number}"})

    def arrived(self, seq: int, events: list[dict], rid: str) -> None:
        """Groups are processed in the order of seq. One that failed comes again behind later ones, which wait for it."""
        if seq < self.turn:
            if int(events[-1]["id"]) <= self.last_id:
                return self.answer(rid, r=True)  # processed before: the answer was lost
            # Never under this seq: a new session has begun, and what it brought before this was processed earlier.
            self.turn, self.waiting, self.ids = seq, {}, {}
        ids = (events[0]["id"], events[-1]["id"])
        if self.ids.get(seq) != ids:
            # New, and new ones come in the order of seq: what came under later ones was of a session that is over.
            self.waiting = {key: group for key, group in self.waiting.items() if key < seq}
            self.ids = {key: known for key, known in self.ids.items() if key < seq} | {seq: ids}
        self.waiting[seq] = (events, rid)
        while self.turn in self.waiting and self.processed(*self.waiting.pop(self.turn)):
            del self.ids[self.turn]
            self.turn += 1

    def processed(self, events: list[dict], rid: str) -> bool:
        try:
            for event in events:
                # Of what was processed in an earlier session, or before the group failed, the ids tell.
                if int(event["id"]) > self.last_id:
                    process(event)
                    self.last_id = int(event["id"])
        except Exception as error:
            print(f"event {event['id']} failed, and comes again: {error}", file=sys.stderr, flush=True)
            self.answer(rid, e="InternalError", edesc=str(error))
            return False
        self.answer(rid, r=True)
        return True

    def answer(self, rid: str, **outcome) -> None:
        self.socket.send_json({**outcome, "rid": rid})


if __name__ == "__main__":
    try:
        Receiver(os.environ.get("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"), sys.argv[1], sys.argv[2:] or None).run()
    except KeyboardInterrupt:
        sys.exit(130)
