"""Records an event through evt-generator and prints its id.

    pip install ./etc/python
    python3 generator.py TYPE 'JSON'
"""
import sys

from eventstream import EventStreamError, Json, Recorder

try:
    with Recorder() as recorder:
        print(recorder.record(sys.argv[1], Json(sys.argv[2])))
except EventStreamError as error:
    sys.exit(str(error))
