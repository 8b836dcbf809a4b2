"""Events are recorded in the transaction of the caller, with any client of PostgreSQL; and through the generator."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import psycopg2
import psycopg2.extras
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from psycopg.rows import dict_row, namedtuple_row

from eventstream import EventStreamError, Json, Receiver, Recorder, add, add_async, trace_meta


@pytest.fixture
def look(database):
    """What is recorded under an id: type, data, key, meta."""
    def look(event_id):
        return database.execute("SELECT type, data::text, key, meta::text FROM evt_queue WHERE id = %s", [event_id]).fetchone()
    return look


@pytest.mark.parametrize("connect", [
    psycopg.connect, lambda url: psycopg.connect(url, row_factory=dict_row), lambda url: psycopg.connect(url, row_factory=namedtuple_row),
    psycopg2.connect, lambda url: psycopg2.connect(url, cursor_factory=psycopg2.extras.RealDictCursor)],
    ids=["psycopg", "dict rows", "named tuples", "psycopg2", "psycopg2 dict rows"])
def test_an_event_is_recorded_with_the_transaction_or_not_at_all(stream, look, event_type, connect):
    connection = connect(stream.database.conninfo)
    first = add(connection, event_type, {"order": 17, "name": "Ä", "none": None}, key="order 17", meta={"user": 5})
    assert look(first) is None
    connection.commit()
    assert look(first) == (event_type, '{"order":17,"name":"Ä","none":null}', "order 17", '{"user":5}')
    cursor = connection.cursor()
    lost = add(cursor, event_type, Json('{"a": 1.10, "b": 12345678901234567890}'), idempotency_key=f"once {event_type} {connect}")
    assert add(cursor, event_type, Json('{"a": 1.10, "b": 12345678901234567890}'), idempotency_key=f"once {event_type} {connect}") == lost
    connection.rollback()
    assert look(lost) is None
    connection.close()


@pytest.mark.parametrize("data, text", [
    (None, "null"), ("text", '"text"'), (17, "17"), (1.5, "1.5"), ([], "[]"), (True, "true"), (Json(" [1.10] "), " [1.10] "),
    ("\ud800", '"\\ud800"'), ("a%b", '"a%b"')])
def test_data_is_any_json(database, look, event_type, data, text):
    assert look(add(database, event_type, data))[1] == text


@pytest.mark.parametrize("data", [float("nan"), {1, 2}, object(), b"bytes"])
def test_what_is_no_json_is_refused_before_the_transaction_fails(stream, event_type, data):
    with psycopg.connect(stream.database.conninfo) as connection:
        with pytest.raises((TypeError, ValueError)):
            add(connection, event_type, data)
        assert add(connection, event_type, None) > 0


def test_what_the_database_refuses_is_its_error(stream, database):
    with pytest.raises(psycopg.errors.CheckViolation):
        add(database, "not valid", None)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        add(database, "TYPE", Json("{"))
    with pytest.raises(psycopg.errors.UndefinedFunction, match=r'my"%table_add'):
        add(database, "TYPE", None, table='my"%table', schema="public")


def test_another_stream_and_asyncio(stream, database, look, event_type):
    async def main() -> int:
        async with await psycopg.AsyncConnection.connect(stream.database.conninfo) as connection:
            return await add_async(connection, event_type, {"a": 1}, key="k", schema="public")
    assert look(asyncio.run(main())) == (event_type, '{"a":1}', "k", None)


def test_the_generator_records_for_many_threads(stream, look, event_type):
    with Recorder(endpoints=stream.generator.endpoint) as recorder, ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda n: recorder.record(event_type, {"n": n}, key=f"k{n}", meta={"m": n}), range(40)))
        assert len(set(ids)) == 40 and look(ids[7]) == (event_type, '{"n":7}', "k7", '{"m":7}')
        once = [recorder.record(event_type, Json("1.10"), idempotency_key=event_type) for _ in range(3)]
        assert len(set(once)) == 1 and look(once[0])[1] == "1.10"
        with pytest.raises(EventStreamError, match="IdempotencyConflict"):
            recorder.record(event_type, 2, idempotency_key=event_type)
        with pytest.raises(EventStreamError) as told:
            recorder.record("not valid", 2)
        assert told.value.code == "InvalidRequest" and not told.value.retriable
        with pytest.raises(EventStreamError, match="InvalidRequest"):
            recorder.record(event_type, "x" * 100_000)


def test_with_an_idempotency_key_a_generator_that_comes_back_records_once(stream, event_type, database):
    generator = stream.start_generator()
    recorder = Recorder(endpoints=generator.endpoint, timeout=60)
    recorder.record(event_type, 0)
    generator.process.kill()
    found = []
    thread = threading.Thread(target=lambda: found.append(recorder.record(event_type, 1, idempotency_key=f"{event_type} 1")))
    thread.start()
    again = stream.start_generator(EVT_GENERATOR_BIND=generator.endpoint)
    thread.join(60)
    assert found and database.execute("SELECT count(*) FROM evt_queue WHERE type = %s", [event_type]).fetchone()[0] == 2
    recorder.close()
    assert again.process.stop() == 0
    with Recorder(endpoints="tcp://127.0.0.1:1", timeout=0.2) as recorder, pytest.raises(EventStreamError, match="was not sent"):
        recorder.record(event_type, 2)


def test_a_trace_goes_from_the_recorder_to_the_receiver(stream, database, event_type, name):
    span = NonRecordingSpan(SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, TraceFlags(1)))
    with use_span(span):
        add(database, event_type, None, meta=trace_meta())
    add(database, event_type, None, meta={"user": 5})
    with Receiver(name, want=event_type, endpoints=stream.pusher.endpoint) as receiver:
        events = []
        while len(events) < 2:
            batch = next(receiver)
            batch.confirm()
            events += batch.events
    assert events[0].meta == {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    found = trace.get_current_span(events[0].context()).get_span_context()
    assert found.trace_id == span.get_span_context().trace_id and found.is_remote
    assert not trace.get_current_span(events[1].context()).get_span_context().is_valid
    assert trace_meta() == {}
