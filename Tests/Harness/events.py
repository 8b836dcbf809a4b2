"""Events that are told apart, and that whoever rewrites them is found out by."""

from __future__ import annotations

import random

TYPES = ["ALPHA", "BETA", "GAMMA", "DELTA_", "E", "F_LONGEST_TYPE_X"]
LAST_TYPE = "ALPHA"


def event_data(draw: random.Random, key: str) -> str:
    """JSON with a key that no other event has; written so that whoever rewrites it is found out."""
    match draw.randrange(20):
        case 0:
            filler = ',"text":"' + "ä \\u00e4\\n" * draw.randrange(400) + '"'
        case 1 | 2 | 3:
            filler = f', "n" : {draw.randrange(1 << 63)}.50e+3,  "n":null'
        case _:
            filler = ""
    return f'{{"k":"{key}"{filler}}}'
