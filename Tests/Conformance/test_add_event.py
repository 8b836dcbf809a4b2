"""addEvent: what may be recorded, ids, durability, pipelining (sections 3 and 4)."""

import json
import re

import pytest

from Harness.database import add_sql
from Harness.expect import refused
from Harness.wire import GEN


def add_request(rid: str | None, event_type, data="1") -> str:
    more = f',"rid":"{rid}"' if rid else ""
    return f'{{"f":"{GEN}:addEvent","p":{{"type":{json.dumps(event_type)},"data":{data}}}{more}}}'


def recorded(stream, event_type: str) -> list[int]:
    return [int(text) for text in stream.database.values(
        f"SELECT id FROM evt_queue WHERE type = '{event_type}' ORDER BY id")]


def test_the_answer_is_an_event_id(source, event_type):
    event_id = source.add_event(event_type, {"any": "thing"})
    assert isinstance(event_id, str)
    assert re.fullmatch(r"[1-9][0-9]{0,17}", event_id)


def test_the_event_is_committed_when_its_id_is_answered(stream, source, event_type):
    for _ in range(10):
        event_id = int(source.add_event(event_type))
        assert event_id in recorded(stream, event_type)


@pytest.mark.parametrize("event_type", ["A", "Z", "_", "__", "ABCDEFGHIJKLMNOP", "QRSTUVWXYZ______", "USR_ADD"])
def test_types_of_1_to_16_capital_letters_and_underscores_are_recorded(stream, source, event_type):
    assert int(source.add_event(event_type)) in recorded(stream, event_type)


@pytest.mark.parametrize("event_type", [
    "", "A" * 17, "abc", "Abc", "ABc", "A1", "1", "A B", " A", "A ", "A-B", "A.B", "\u00c4", "\uff21", "A\n", "\nA",
    "A\u0000", None, 5, True, ["A"], {"A": 1}], ids=repr)
def test_any_other_type_is_refused(source, event_type):
    with refused("InvalidRequest"):
        source.call(f"{GEN}:addEvent", type=event_type, data=1)


def test_the_type_must_be_present(source):
    with refused("InvalidRequest"):
        source.call(f"{GEN}:addEvent", data=1)


def test_data_must_be_present(source, event_type):
    with refused("InvalidRequest"):
        source.call(f"{GEN}:addEvent", type=event_type)


def test_data_may_be_null(stream, source, event_type):
    assert int(source.call(f"{GEN}:addEvent", type=event_type, data=None)) in recorded(stream, event_type)


@pytest.mark.parametrize("broken", ["", "nul", "{", "[1,]", "'x'", "01", "1.", ".5", '"\\x"', '"\t"', "NaN", "1e"])
def test_data_must_be_json(source, broken):
    source.send(add_request(None, "BROKEN", broken))
    assert source.next_answer().error == "InvalidRequest"


def test_a_refused_event_leaves_nothing_behind(stream, source, event_type):
    with refused("InvalidRequest"):
        source.call(f"{GEN}:addEvent", type=event_type)
    source.send(add_request("C77", event_type, "[1"))
    assert source.next_answer().error == "InvalidRequest"
    source.add_event("OTHER")
    assert recorded(stream, event_type) == []


def test_ids_increase_strictly(stream, source, connect, event_type):
    another = connect(stream.generator.endpoint)
    ids = []
    for _ in range(20):
        ids += [int(source.add_event(event_type)), int(another.add_event(event_type)),
                int(stream.database.value(add_sql(event_type))),
                int(stream.database.value(add_sql(event_type, how="insert")))]
    assert ids == sorted(set(ids))
    assert recorded(stream, event_type) == ids


def test_pipelined_events_get_ids_in_the_order_of_their_requests(stream, source, event_type):
    rids = [source.request(f"{GEN}:addEvent", {"type": event_type, "data": number}) for number in range(500)]
    ids = [int(source.answer(rid).result()) for rid in rids]
    assert ids == sorted(set(ids))
    assert stream.database.values(
        f"SELECT data FROM evt_queue WHERE type = '{event_type}' ORDER BY id") == [str(n) for n in range(500)]


def test_each_of_several_sources_gets_its_own_answers_in_its_own_order(stream, connect, event_type):
    sources = [connect(stream.generator.endpoint) for _ in range(5)]
    rids = [[] for _ in sources]
    for number in range(50):
        for source, own in zip(sources, rids):
            own.append(source.request(f"{GEN}:addEvent", {"type": event_type, "data": number}))
    ids = [[int(source.answer(rid).result()) for rid in own] for source, own in zip(sources, rids)]
    for own in ids:
        assert own == sorted(set(own))
    assert recorded(stream, event_type) == sorted(sum(ids, []))


INVALID = {
    "lowercase type": ("lower", "1"),
    "type too long": ("A" * 17, "1"),
    "type is null": (None, "1"),
    "data is not JSON": ("OK", "[1,"),
    "data holds a control character": ("OK", '"\t"'),
    "over the size limit": ("OK", '"' + "x" * 70000 + '"'),
}


@pytest.mark.parametrize("what", INVALID)
def test_one_invalid_call_among_100_fails_alone(stream, source, event_type, what):
    rids = []
    for number in range(100):
        if number == 50:
            source.send(add_request(None, *INVALID[what]))
        rids.append(source.request(f"{GEN}:addEvent", {"type": event_type, "data": number}))
    ids = [int(source.answer(rid).result()) for rid in rids]
    assert source.next_answer().error == "InvalidRequest"
    assert recorded(stream, event_type) == ids


@pytest.mark.parametrize("data", ['"\\u0000"', '"\\ud800"', "1e999999", "[" * 30000 + "]" * 30000],
                         ids=["nul", "lone surrogate", "huge exponent", "30000 deep"])
def test_data_that_a_database_may_balk_at_does_not_harm_its_neighbours(stream, source, event_type, data):
    rids = []
    for number in range(100):
        if number == 50:
            source.send(add_request("C_odd", "ODD", data))
        rids.append(source.request(f"{GEN}:addEvent", {"type": event_type, "data": number}))
    ids = [int(source.answer(rid).result()) for rid in rids]
    source.next_answer()  # to the odd one: an id or an error
    assert recorded(stream, event_type) == ids
