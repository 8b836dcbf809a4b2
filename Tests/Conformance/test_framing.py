"""Framing and the FTN3 envelope: delimiters, rid, the keys of requests and answers (section 2)."""

import json

import pytest

from Harness.wire import PING


def ping_text(echo: int, **more) -> str:
    return json.dumps({"f": f"{PING}:ping", "p": {"echo": echo}, **more})


def test_a_req_socket_is_answered(endpoint, connect_req):
    caller = connect_req(endpoint)
    assert caller.exchange(ping_text(7, rid="C1")).body == {"r": {"echo": 7}, "rid": "C1"}


def test_a_req_socket_can_call_again_and_again_even_after_an_error(endpoint, connect_req):
    caller = connect_req(endpoint)
    for number in range(5):
        assert caller.exchange(ping_text(number)).body == {"r": {"echo": number}}
        assert caller.exchange("not JSON").error == "InvalidRequest"


@pytest.mark.parametrize("delimiter", [False, True], ids=["bare", "with delimiter"])
def test_a_dealer_gets_the_framing_it_uses(endpoint, connect, delimiter):
    dealer = connect(endpoint, delimiter=delimiter)
    dealer.send(ping_text(7, rid="C1"))
    answer = dealer.answer("C1")
    assert answer.result() == {"echo": 7}
    assert answer.delimited == delimiter


@pytest.mark.parametrize("delimiter", [False, True], ids=["bare", "with delimiter"])
def test_an_error_answer_keeps_the_framing_too(endpoint, connect, delimiter):
    dealer = connect(endpoint, delimiter=delimiter)
    dealer.send("not JSON")
    answer = dealer.next_answer()
    assert answer.error == "InvalidRequest"
    assert answer.delimited == delimiter


def test_both_framings_work_on_one_connection(endpoint, connect):
    dealer = connect(endpoint)
    dealer.send_frames(ping_text(1, rid="C1").encode())
    dealer.send_frames(b"", ping_text(2, rid="C2").encode())
    dealer.send_frames(ping_text(3, rid="C3").encode())
    assert [dealer.answer(rid).delimited for rid in ("C1", "C2", "C3")] == [False, True, False]


@pytest.mark.parametrize("rid", ["C1", "C0", "C18446744073709551616", "Cabc"])
def test_the_rid_is_echoed(endpoint, connect, rid):
    dealer = connect(endpoint)
    dealer.send(ping_text(1, rid=rid))
    assert dealer.next_answer().body == {"r": {"echo": 1}, "rid": rid}


def test_without_rid_the_answer_has_none(endpoint, connect):
    dealer = connect(endpoint)
    dealer.send(ping_text(1))
    assert dealer.next_answer().body == {"r": {"echo": 1}}


def test_an_error_answer_has_a_name_a_text_for_people_and_the_rid(endpoint, connect):
    dealer = connect(endpoint)
    answer = dealer.answer(dealer.request("futoin.evt.nowhere:1.0:nothing"))
    assert set(answer.body) == {"e", "edesc", "rid"}
    assert isinstance(answer.body["edesc"], str)


def test_an_error_answer_to_a_serial_call_has_no_rid(endpoint, connect):
    dealer = connect(endpoint)
    dealer.send(json.dumps({"f": "futoin.evt.nowhere:1.0:nothing", "p": {}}))
    assert set(dealer.next_answer().body) == {"e", "edesc"}


def test_pipelined_calls_are_all_answered(endpoint, connect):
    dealer = connect(endpoint)
    rids = [dealer.request(f"{PING}:ping", {"echo": number}) for number in range(200)]
    assert [dealer.answer(rid).result()["echo"] for rid in rids] == list(range(200))


@pytest.mark.parametrize("extra", [
    {"forcersp": True},
    {"forcersp": False},
    {"sec": "user:secret"},
    {"sec": {"user": "somebody", "sig": "xyz"}},
    {"obf": {"slv": "SL3", "scope": "a.b.c", "user": "1"}},
    {"forcersp": True, "sec": "-hmac:x:y:z", "obf": {}},
], ids=json.dumps)
def test_forcersp_sec_and_obf_are_accepted_and_ignored(endpoint, connect, extra):
    dealer = connect(endpoint)
    dealer.send(ping_text(3, rid="C1", **extra))
    assert dealer.answer("C1").body == {"r": {"echo": 3}, "rid": "C1"}


@pytest.mark.parametrize("key", ["x", "F", "params", "Rid", "", "sec ", "\u0000"])
def test_an_unknown_top_level_key_is_refused(endpoint, connect, key):
    dealer = connect(endpoint)
    dealer.send(ping_text(1, rid="C1", **{key: 1}))
    assert dealer.answer("C1").error == "InvalidRequest"


def test_the_order_of_the_keys_and_the_space_around_them_do_not_matter(endpoint, connect):
    dealer = connect(endpoint)
    dealer.send(f' \r\n\t{{ "rid" : "C1" ,\n "p" : {{ "echo" : 5 }} , "f" : "{PING}:ping" }} \n')
    assert dealer.answer("C1").result() == {"echo": 5}


def test_keys_may_be_written_with_escapes(endpoint, connect):
    dealer = connect(endpoint)
    dealer.send(f'{{"\\u0066":"{PING}:\\u0070ing","p":{{"\\u0065cho":5}},"rid":"C\\u0031"}}')
    assert dealer.answer("C1").result() == {"echo": 5}
