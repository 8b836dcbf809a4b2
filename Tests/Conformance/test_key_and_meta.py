"""addEvent with key, meta and idempotency key (section 8.4)."""

import json

import pytest

from Harness.expect import refused
from Harness.wire import GEN


def row(stream, event_id) -> list[str]:
    return json.loads(stream.database.value(
        f"SELECT json_build_array(type, data::text, key, meta::text)::text FROM evt_queue WHERE id = {event_id}"))


def count(stream, event_type: str) -> int:
    return int(stream.database.value(f"SELECT count(*) FROM evt_queue WHERE type = '{event_type}'"))


def add(source, event_type: str, data="1", **more: str) -> str:
    """With these very JSON texts."""
    members = "".join(f',"{name}":{text}' for name, text in more.items())
    rid = f"C{next(source._numbers)}"
    source.send(f'{{"f":"{GEN}:addEvent","p":{{"type":"{event_type}","data":{data}{members}}},"rid":"{rid}"}}')
    return source.answer(rid).result()


def test_key_and_meta_are_recorded_verbatim(stream, source, event_type):
    event_id = add(source, event_type, key='"order \\u00e9 17"', meta='{ "b":1.0 ,"a":1e2}')
    assert row(stream, event_id) == [event_type, "1", "order \u00e9 17", '{ "b":1.0 ,"a":1e2}']


def test_null_counts_as_left_out(stream, source, event_type):
    event_id = add(source, event_type, key="null", meta="null", idempotency_key="null")
    assert row(stream, event_id) == [event_type, "1", None, None]
    assert add(source, event_type, key="null", meta="null", idempotency_key="null") != event_id


@pytest.mark.parametrize("more", [
    {"key": "k" * 128}, {"key": "\u00e9" * 64}, {"meta": {"a": "x" * 4086}}, {"idempotency_key": "o" * 200}], ids=lambda more: next(iter(more)))
def test_the_largest_are_recorded(source, event_type, more):
    assert int(source.call(f"{GEN}:addEvent", type=event_type, data=1, **more)) > 0


@pytest.mark.parametrize("more", [
    {"key": ""}, {"key": "k" * 129}, {"key": "\u00e9" * 65}, {"key": 7}, {"key": ["k"]}, {"key": {}}, {"key": "a\u0000"}, {"key": False},
    {"meta": []}, {"meta": "{}"}, {"meta": 1}, {"meta": True}, {"meta": {"a": "x" * 4090}},
    {"idempotency_key": ""}, {"idempotency_key": "o" * 201}, {"idempotency_key": 1}, {"idempotency_key": "\u0000"},
    {"idempotencyKey": "x"}], ids=lambda more: json.dumps(more)[:30])
def test_anything_else_is_refused(stream, source, event_type, more):
    with refused("InvalidRequest"):
        source.call(f"{GEN}:addEvent", type=event_type, data=1, **more)
    assert count(stream, event_type) == 0


def test_a_lone_surrogate_is_no_key(source, event_type):
    for name in ["key", "idempotency_key"]:
        with refused("InvalidRequest"):
            add(source, event_type, **{name: '"\\ud800"'})


def test_a_repeated_idempotency_key_returns_the_first_id(stream, source, connect, event_type):
    first = source.call(f"{GEN}:addEvent", type=event_type, data={"n": 1}, idempotency_key=event_type)
    for peer in [source, connect(stream.generator.endpoint)]:
        assert peer.call(f"{GEN}:addEvent", type=event_type, data={"n": 1}, idempotency_key=event_type) == first
    assert count(stream, event_type) == 1


@pytest.mark.parametrize("changed", [
    {"data": "1.0"}, {"key": '"l"'}, {"key": "null"}, {"meta": '{"a": 1}'}, {"meta": "null"}], ids=str)
def test_a_repeated_key_with_other_content_is_a_conflict(stream, source, event_type, changed):
    call = {"data": "1", "key": '"k"', "meta": '{"a":1}', "idempotency_key": f'"{event_type}"'}
    first = add(source, event_type, **call)
    with refused("IdempotencyConflict"):
        add(source, event_type, **{**call, **changed})
    assert add(source, event_type, **call) == first
    assert count(stream, event_type) == 1


def test_another_type_is_a_conflict(source, event_type):
    source.call(f"{GEN}:addEvent", type=event_type, data=1, idempotency_key=event_type)
    with refused("IdempotencyConflict"):
        source.call(f"{GEN}:addEvent", type="OTHER", data=1, idempotency_key=event_type)


def test_a_conflict_among_100_calls_fails_alone(stream, source, event_type):
    source.call(f"{GEN}:addEvent", type="OTHER", data=1, idempotency_key=event_type)
    rids = []
    for number in range(100):
        key = event_type if number % 10 == 5 else f"{event_type} {number // 2}" if number % 10 > 5 else None
        more = {"idempotency_key": key} if key else {}
        rids.append(source.request(f"{GEN}:addEvent", {"type": event_type, "data": number // 2, **more}))
    answers = [source.answer(rid) for rid in rids]
    assert [number for number, answer in enumerate(answers) if answer.error] == list(range(5, 100, 10))
    assert {answer.error for answer in answers} == {None, "IdempotencyConflict"}
    ids = [int(answer.result()) for answer in answers if not answer.error]
    # Of ten calls the two with the numbers 6 and 7, and those with 8 and 9, are one event each.
    assert len(set(ids)) == 70 and ids == sorted(ids)
    assert count(stream, event_type) == 70
