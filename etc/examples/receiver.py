"""A reliable receiver: gets every event, in order, at least once, and confirms what it has processed.

    python3 receiver.py COMPONENT [TYPE ...]
"""
import os
import sys

import zmq

component, want = sys.argv[1], sys.argv[2:] or None
socket = zmq.Context().socket(zmq.DEALER)
socket.linger = 1000
socket.connect(os.environ.get("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:5571"))
number = 0


def call(function: str, **parameters) -> None:
    global number
    number += 1
    socket.send_json({"f": f"futoin.evt.push:1.1:{function}", "p": parameters, "rid": f"C{number}"})


def ask() -> None:
    """Asks for events; again, it is the sign of life that keeps the session."""
    call("registerConsumer", component=component)
    call("readyToReceive", component=component, want=want, origin=True)


ask()
# The newest event processed, and the generation of the stream it is of; kept with your data, they make processing exact
# across restarts.
last_id, generation = 0, None
while True:
    if not socket.poll(5000):
        ask()
        continue
    message = socket.recv_json()
    if "e" in message:
        # Another receiver has the consumer, or the pusher has no database: the next sign of life asks again.
        print(f"{message['e']}: {message.get('edesc', '')}", file=sys.stderr, flush=True)
    if isinstance(message.get("r"), dict) and message["r"]["generation"] != generation:
        # The database failed over or was restored: ids may come again with other events.
        last_id, generation = 0, message["r"]["generation"]
    if message.get("f") != "futoin.evt.receiver:1.1:onEvents":
        continue  # an answer to one of our calls
    for event in message["p"]["events"]:
        # Groups come in order. After a lost answer or a new session some come again: their ids tell.
        if int(event["id"]) > last_id:
            print(event["id"], event["type"], event["data"], flush=True)  # your work goes here
            last_id = int(event["id"])
    socket.send_json({"r": True, "rid": message["rid"]})
