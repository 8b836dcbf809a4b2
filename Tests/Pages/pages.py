"""The pages for people: README.md, that of the Python package, etc/docs and the articles of the DocC catalog, and the blocks of code in them.

A block is run or compiled by what its fence says: `sh`, `sql` (`sql warehouse`: in the warehouse), `python`, `swift`.
`text` is no code, and `promql` is checked elsewhere. A comment on the line before, which readers do not see, changes that:

    <!-- not run: REASON -->    nobody runs it
    <!-- may fail: REASON -->   its exit status does not matter
    <!-- until: TEXT -->        it does not end by itself: it runs until its output contains the text, while events of the
                                type ORDER_PAID are recorded
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "Sources/EventStreamClient/EventStreamClient.docc"
PAGES = [ROOT / "README.md", ROOT / "etc/python/README.md", *sorted((ROOT / "etc/docs").glob("*.md")), *sorted(CATALOG.glob("*.md"))]
"""Reference pages, which `evt docs` prints."""

CODE = ("sh", "sql", "python", "swift")
NOTATIONS = ("text", "promql")
"""What nobody runs here; promtool checks the expressions, in Tests/Monitoring."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    database: str
    text: str
    reason: str
    """Why it is not run; empty if it is."""
    until: str
    may_fail: bool

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in CODE and not self.reason


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    found, lines, comment = [], page.read_text().splitlines(), ""
    number = 0
    while number < len(lines):
        opening = re.fullmatch(r"( *)```(.*)", lines[number])
        if opening:
            start = number + 1
            number = next(index for index in range(start, len(lines)) if lines[index].strip() == "```")
            words = opening[2].split()
            note = re.fullmatch(r"\s*<!-- (not run|may fail|until): (.+) -->", comment)
            kind, said = (note[1], note[2]) if note else ("", "")
            found.append(Block(
                page, start, words[0] if words else "", " ".join(words[1:]), textwrap.dedent("\n".join(lines[start:number])) + "\n",
                reason=said if kind == "not run" else "", until=said if kind == "until" else "", may_fail=kind == "may fail"))
        comment = lines[number]
        number += 1
    return tuple(found)


@cache
def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text())


@cache
def code(page: Path) -> tuple[str, ...]:
    """All that is written as code: in lines, and the lines of blocks."""
    inline = re.findall(r"`([^`]+)`", prose(page))
    return (*inline, *(line.split(" #")[0] for block in blocks(page) for line in block.text.replace("\\\n", " ").splitlines()))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
