"""Records an event through evt-generator and prints its id.

    python3 generator.py TYPE 'JSON'
"""
import json
import os
import sys

import zmq

event_type, data = sys.argv[1], json.loads(sys.argv[2])
socket = zmq.Context().socket(zmq.REQ)
socket.linger = 0
socket.connect(os.environ.get("EVT_GENERATOR_CONNECT", "tcp://127.0.0.1:5570"))
socket.send_json({"f": "futoin.evt.gen:1.1:addEvent", "p": {"type": event_type, "data": data}, "rid": "C1"})
if not socket.poll(30_000):
    sys.exit("no answer within 30 s: it is not known whether the event was recorded")
answer = socket.recv_json()
if "e" in answer:
    sys.exit(f"{answer['e']}: {answer.get('edesc', '')}")
print(answer["r"])
