"""Data travels verbatim: every digit, every code point, every key in its order (section 2)."""

import pytest

from Harness.database import literal
from Harness.wire import POLL
from verbatim import data_in_answer, data_in_call, data_of_event, meaning

SAMPLES = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "negative zero": "-0",
    "64-bit maximum": "9223372036854775807",
    "64-bit minimum": "-9223372036854775808",
    "unsigned 64-bit maximum": "18446744073709551615",
    "beyond a double": "9007199254740993",
    "60 digits": "1234567890" * 6,
    "trailing zero": "1.50",
    "money": "[0.10,100.00,-0.0,0.000]",
    "long fraction": "0.1234567890123456789012345678901234567890",
    "exponent": "6.02214076e23",
    "signed exponents": "[1E+2,1e-07,1.0e-7,5E0]",
    "beyond the range of a double": "[1e400,-1e400,1e-400]",
    "empty string": '""',
    "escaped NUL": '"\\u0000"',
    "NUL inside": '"a\\u0000b"',
    "lone high surrogate": '"\\ud800"',
    "lone low surrogate": '"x\\udfff"',
    "surrogates the wrong way round": '"\\udc00\\ud800"',
    "escaped pair": '"\\ud83d\\ude00"',
    "unicode": '"\u017elu\u0165ou\u010dk\u00fd \u6f22\u5b57 \u05e9\u05dc\u05d5\u05dd \U0001f600 \U0010ffff"',
    "composed and decomposed": '["\u00e9","e\u0301"]',
    "unusual code points": '"\u2028\u2029\ufeff\uffff\u007f\u0080"',
    "all short escapes": '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    "escaped control characters": '"\\u0001\\u001f\\u007f"',
    "escaped letters": '"\\u0041\\u00E9"',
    "quotes and dollars": '"it\'s $1 $$ ; -- \\\\ %s {} :name"',
    "empty containers": '[[],{},[{}],{"a":[]}]',
    "key order": '{"z":1,"a":2,"m":3,"A":4,"10":5,"9":6}',
    "duplicate keys": '{"a":1,"b":2,"a":3}',
    "odd keys": '{"":1," ":2,"\\u0000":3,"\\ud800":4,"\u00e9":5}',
    "white space": '{ "a" :\t[ 1 ,\n 2 ] ,\r\n "b" : " x  y " }',
    "an envelope look-alike": '{"f":"futoin.ping:1.0:ping","p":{"echo":1},"rid":"C9","id":"1","type":"X","ts":"now"}',
    "500 arrays": "[" * 500 + "1.0" + "]" * 500,
    "500 objects": '{"k":' * 500 + "null" + "}" * 500,
    "long string": '"' + "0123456789" * 6000 + '"',
    "many numbers": "[" + ",".join(f"{n}.{n:03}0" for n in range(4000)) + "]",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_polled_data_is_what_was_recorded(source, peer, event_type, name):
    source.add_event_text(event_type, SAMPLES[name])
    answer = peer.answer(peer.request(f"{POLL}:pollEvents", {"component": "LIVE", "want": [event_type]}))
    [data] = data_in_answer(answer.text)
    assert meaning(data) == meaning(SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_stored_data_is_what_was_recorded(stream, source, event_type, name):
    event_id = source.add_event_text(event_type, SAMPLES[name])
    stored = bytes.fromhex(stream.database.value(
        f"SELECT encode(convert_to(data::text, 'UTF8'), 'hex') FROM evt_queue WHERE id = {event_id}")).decode()
    assert meaning(stored) == meaning(SAMPLES[name])


def test_pushed_data_is_what_was_recorded(source, peer, consumer, event_type):
    peer.ready(consumer, [event_type])
    for name, sample in SAMPLES.items():
        source.add_event_text(event_type, sample)
        group = peer.next_group()
        peer.accept(group)
        [data] = data_in_call(group.message.text)
        assert meaning(data) == meaning(sample), name


def test_pushed_data_is_what_was_recorded_when_many_events_travel_together(source, peer, consumer, event_type):
    for sample in SAMPLES.values():
        source.add_event_text(event_type, sample)
    peer.ready(consumer, [event_type])
    received = []
    while len(received) < len(SAMPLES):
        group = peer.next_group()
        peer.accept(group)
        received += data_in_call(group.message.text)
    assert [meaning(data) for data in received] == [meaning(sample) for sample in SAMPLES.values()]


def test_broadcast_data_is_what_was_recorded(stream, source, subscribe, event_type):
    subscriber = subscribe(stream, source, event_type)
    for name, sample in SAMPLES.items():
        source.add_event_text(event_type, sample)
        _, payload = subscriber.next_frames()
        assert meaning(data_of_event(payload.decode())) == meaning(sample), name


@pytest.mark.parametrize("how", ["evt_add", "insert"])
def test_data_recorded_with_sql_travels_verbatim_too(stream, peer, event_type, how):
    texts = [sample for sample in SAMPLES.values() if "\n" not in sample]
    for text in texts:
        if how == "insert":
            stream.database.value("INSERT INTO evt_queue(type, data, ts) VALUES "
                                  f"('{event_type}', {literal(text)}, now() AT TIME ZONE 'UTC') RETURNING id")
        else:
            stream.database.value(f"SELECT evt_add('{event_type}', {literal(text)})")
    answer = peer.answer(peer.request(f"{POLL}:pollEvents", {"component": "LIVE", "want": [event_type]}))
    assert [meaning(data) for data in data_in_answer(answer.text)] == [meaning(text) for text in texts]
