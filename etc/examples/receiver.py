"""A reliable receiver: gets every event, in order, at least once, and confirms what it has processed.

    pip install ./etc/python
    python3 receiver.py COMPONENT [TYPE ...]
"""
import signal
import sys

from eventstream import Event, Receiver


def process(event: Event) -> None:
    """Your work goes here, and may take long. If it raises, the event comes again after a pause, and nothing later is processed before."""
    print(event.id, event.type, event.data, flush=True)


receiver = Receiver(sys.argv[1], want=sys.argv[2:] or None)
signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
try:
    receiver.run(process)
except KeyboardInterrupt:
    sys.exit(130)
