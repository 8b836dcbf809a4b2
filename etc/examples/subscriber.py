"""Prints live events of some types: a plain ZeroMQ subscriber, nothing else is needed.

    python3 subscriber.py [TYPE_PREFIX ...]
"""
import os
import sys

import zmq

socket = zmq.Context().socket(zmq.SUB)
# In milliseconds: a connection that the network has lost without a word is made anew.
socket.heartbeat_ivl, socket.heartbeat_timeout = 5000, 15000
for prefix in sys.argv[1:] or [""]:
    socket.subscribe(prefix)
socket.connect(os.environ.get("EVT_LIVE_CONNECT", "tcp://127.0.0.1:5572"))
print("subscribed", file=sys.stderr, flush=True)
try:
    while True:
        event_type, event = socket.recv_multipart()
        print(event_type.decode(), event.decode(), flush=True)
except KeyboardInterrupt:
    sys.exit(130)
