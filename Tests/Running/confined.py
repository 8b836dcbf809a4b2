"""Becomes a program that may make only the system calls that its unit leaves it, as under systemd.

    python confined.py UNIT PROGRAM

What the kernel refuses depends on no manager and needs no root, so that it can be shown on any machine.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from pyseccomp import ALLOW, EQ, ERRNO, MASKED_EQ, Arg, SyscallFilter, resolve_syscall, system_arch

FAMILIES = 46
"""Families of addresses that Linux knows."""


def groups() -> dict[str, list[str]]:
    """systemd's groups of system calls; one may be in another."""
    listed = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, encoding="utf-8").stdout
    groups: dict[str, list[str]] = {}
    members: list[str] = []
    for line in listed.splitlines():
        name = line.strip()
        if line.startswith("@"):
            members = groups[name] = []
        elif name and not name.startswith("#"):
            members.append(name)
    return groups


def system_calls(names: list[str], known: dict[str, list[str]]) -> set[str]:
    calls = set()
    for name in names:
        calls |= system_calls(known[name], known) if name.startswith("@") else {name}
    return calls


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def confine(unit: str) -> None:
    known = groups()
    allowed = system_calls(["@default"], known)
    for value in values(unit, "SystemCallFilter"):
        if value.startswith("~"):
            allowed -= system_calls(value[1:].split(), known)
        else:
            allowed |= system_calls(value.split(), known)
    [families] = values(unit, "RestrictAddressFamilies")
    families = {int(getattr(socket, name)) for name in families.split()}
    assert values(unit, "SystemCallErrorNumber") == ["EPERM"] and values(unit, "MemoryDenyWriteExecute") == ["yes"]

    kernel = SyscallFilter(ERRNO(errno.EPERM))
    for call in allowed - {"socket", "mmap", "mprotect", "pkey_mprotect"}:
        if resolve_syscall(system_arch(), call) >= 0:
            kernel.add_rule(ALLOW, call)
    for family in range(FAMILIES):
        kernel.add_rule(ALLOW if family in families else ERRNO(errno.EAFNOSUPPORT), "socket", Arg(0, EQ, family))
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    for protection in (0, mmap.PROT_WRITE, mmap.PROT_EXEC):
        kernel.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, both, protection))
    for call in ("mprotect", "pkey_mprotect"):
        kernel.add_rule(ALLOW, call, Arg(2, MASKED_EQ, mmap.PROT_EXEC, 0))
    kernel.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text())
    os.execv(sys.argv[2], sys.argv[2:])
