"""What the pages name exists: other pages, headings, files, settings, commands with their flags, tables, tests."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from pages import PAGES, ROOT, anchors, code, prose


@cache
def everything(folder: str) -> str:
    """The text of all files there but the pages."""
    return "\n".join(file.read_text(errors="replace") for file in (ROOT / folder).rglob("*")
                     if file.is_file() and file.suffix != ".md" and "Corpus" not in file.parts)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = target.partition("#")
        if name.startswith("http"):
            continue
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_and_tables_exist(page):
    sources = everything("Sources")
    for name in set(re.findall(r"\bEVT_[A-Z_]*[A-Z]\b", page.read_text())):
        assert f'"{name}"' in sources, name
    known = sources + everything("Tests") + everything("etc")
    for name in set(re.findall(r"(?<!\w)evt_\w*[a-z]", page.read_text())):
        assert name in known, name


@pytest.fixture(scope="module")
def help_of(binaries):
    """The help of a command, or nothing where there is no such command."""
    @cache
    def help_of(program: str, *command: str) -> str:
        return subprocess.run([binaries / program, *command, "--help"], capture_output=True, text=True).stdout

    return help_of


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_flags_exist(page, help_of):
    for line in code(page):
        for program, rest in re.findall(r"(?<![\w/.-])(evt(?:-(?:generator|pusher|archiver|discarder|relay))?)(?= |$)([^|;&#()]*)", line):
            command: list[str] = []
            words = rest.split()
            # A subcommand is listed in the help of what it belongs to.
            while words and words[0].isalpha() and re.search(rf"(?m)^  {words[0]}\s", help_of(program, *command)):
                command.append(words.pop(0))
            assert program != "evt" or command or not words, line
            for flag in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert re.search(rf"(?m)^  (?:-\w, )?{flag}\b", help_of(program, *command)), f"{flag} of {line}"


def test_tests_that_are_named_exist():
    for name in ("faults.md", "security.md"):
        for row in re.findall(r"(?m)^\|.*\|(.+?)\|$", prose(ROOT / "etc/docs" / name)):
            for test in re.findall(r"`([A-Za-z_]+(?:\.py)?)…?`", row):
                file = next((ROOT / "Tests").glob(f"*/{test}"), None) if test.endswith(".py") else None
                assert file or test in everything("Tests"), test


def test_files_of_the_code_that_are_named_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:Sources|Tests|etc)/[\w+./*-]+)`", prose(page)):
            assert list(ROOT.glob(name)), f"{page.name}: {name}"
