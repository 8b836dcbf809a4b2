"""The settings that these files name are settings there are."""

import re

from files import ETC, LOGROTATE, SUPERVISOR, UNITS

NAME = re.compile(r"EVT_[A-Z_]*[A-Z]")


def test_every_setting_that_is_named_is_one():
    known = set(NAME.findall((ETC / "evt.env.example").read_text()))
    named = set()
    for file in [LOGROTATE, SUPERVISOR, *UNITS.iterdir()]:
        named |= set(NAME.findall(file.read_text()))
    assert named and named <= known
