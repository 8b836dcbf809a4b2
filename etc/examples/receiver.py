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


call("registerConsumer", component=component)
call("readyToReceive", component=component, want=want)
last_id = 0  # of the newest event processed; kept with your data, it makes processing exact across restarts
while True:
    if not socket.poll(5000):
        # Nothing to say for a while: a sign of life keeps the session.
        call("readyToReceive", component=component, want=want)
        continue
    message = socket.recv_json()
    if "e" in message and message["e"] != "ConsumerBusy":
        sys.exit(f"{message['e']}: {message.get('edesc', '')}")
    if message.get("f") != "futoin.evt.receiver:1.1:onEvents":
        continue  # an answer; where another receiver has the consumer, the next sign of life asks again
    for event in message["p"]["events"]:
        # Groups come in order. After a lost answer or a new session some come again: their ids tell.
        if int(event["id"]) > last_id:
            print(event["id"], event["type"], event["data"], flush=True)  # your work goes here
            last_id = int(event["id"])
    socket.send_json({"r": True, "rid": message["rid"]})
