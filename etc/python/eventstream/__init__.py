"""Record and receive the events of EventStream.

    from eventstream import Receiver, add

    with psycopg.connect(URL) as connection:                       # record, in your own transaction
        connection.execute("UPDATE orders SET paid = true WHERE id = 17")
        add(connection, "ORDER_PAID", {"order": 17})

    Receiver("BILLING", want=["ORDER_PAID"]).run(print)            # receive: every event, in order, at least once
"""

from ._add import add, add_async
from ._batch import Batch
from ._calls import Recorder, live, poll
from ._errors import EventStreamError
from ._events import Event, Json, Origin, trace_meta
from ._inbox import Inbox
from ._receiver import AsyncReceiver, Receiver
from ._session import Progress

__all__ = [
    "AsyncReceiver", "Batch", "Event", "EventStreamError", "Inbox", "Json", "Origin", "Progress", "Receiver", "Recorder", "add",
    "add_async", "live", "poll", "trace_meta"]
