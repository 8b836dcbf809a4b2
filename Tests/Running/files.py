"""The files as they are in etc/, and copies of them for this machine."""

from __future__ import annotations

import getpass
import grp
import os
import re
from pathlib import Path

ETC = Path(__file__).parent.parent.parent / "etc"
UNITS = ETC / "systemd"
SUPERVISOR = ETC / "supervisor" / "eventstream.conf"
LOGROTATE = ETC / "logrotate" / "eventstream"

PROGRAMS = re.findall(r"exec (\S+)", (ETC.parent / "Procfile").read_text())
"""What the Procfile runs."""


def adapted(text: str, replacements: dict[str, object]) -> str:
    """The text with other paths in it. One that does not occur fails: the file would not be what is tested."""
    for old, new in replacements.items():
        assert old in text, f"{old} does not occur"
        text = text.replace(old, str(new))
    return text


def user() -> str:
    """Who runs the tests."""
    return getpass.getuser()


def group() -> str:
    return grp.getgrgid(os.getgid()).gr_name
