"""Reading JSON text without changing it.

Python's json turns numbers into floats and keeps the last of two equal keys, so it cannot tell whether
data came back verbatim. These functions look at the tokens instead. Nothing here is recursive.
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?P<token>
        "[^"\\]*(?:\\.[^"\\]*)*"            # a string
      | -?[0-9][0-9.eE+-]*                  # a number
      | true | false | null | [\[\]{},:]
    )[ \t\r\n]*""",
    re.VERBOSE,
)


def _tokens(text: str):
    """Yields each token with the places where it starts and ends."""
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match, f"not JSON at {place}: {text[place:place + 40]!r}"
        yield match["token"], match.start("token"), match.end("token")
        place = match.end()


def meaning(text: str) -> list:
    """What must survive: every token, strings as their code points, numbers as their digits."""
    return [("string", json.loads(token)) if token[0] == '"' else token for token, _, _ in _tokens(text)]


def _parts(text: str) -> list[str]:
    """The texts between the commas and colons of the outermost object or array."""
    parts, depth, begin, end = [], 0, None, None
    for token, start, stop in _tokens(text):
        if token in "]}":
            depth -= 1
        if (depth == 1 and token in ",:") or (depth == 0 and token in "]}"):
            if begin is not None:
                parts.append(text[begin:end])
            begin = None
        elif depth >= 1:
            begin, end = (start if begin is None else begin), stop
        if token in "[{":
            depth += 1
    return parts


def members(text: str) -> dict[str, str]:
    """The members of a JSON object: key to the exact text of the value."""
    parts = _parts(text)
    return {json.loads(key): value for key, value in zip(parts[::2], parts[1::2])}


def elements(text: str) -> list[str]:
    """The exact texts of the elements of a JSON array."""
    return _parts(text)


def data_of_event(event: str) -> str:
    """The exact text of the data of an Event."""
    return members(event)["data"]


def data_in_answer(answer: str) -> list[str]:
    """The exact texts of the data of the events that pollEvents answered."""
    return [data_of_event(event) for event in elements(members(answer)["r"])]


def data_in_call(call: str) -> list[str]:
    """The exact texts of the data of the events that an onEvents call brought."""
    return [data_of_event(event) for event in elements(members(members(call)["p"])["events"])]
