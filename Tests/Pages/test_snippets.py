"""The commands and snippets on the pages do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pages import CATALOG, CODE, NOTATIONS, PAGES, ROOT, blocks

RUN = ("sh", "sql", "python")
ALONE = ("failover.md",)
"""Their commands make another stream of the pipeline's."""


def test_every_block_is_run_or_says_why_not():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in (*CODE, *NOTATIONS), f"{block}: nobody runs ```{block.language}; see pages.py"


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_run and block.language in RUN for block in blocks(page))],
                         ids=lambda page: page.name)
def test_the_commands_of_a_page_run_from_top_to_bottom(page, request):
    pipeline = request.getfixturevalue("own_pipeline" if page.name in ALONE else "pipeline")
    for block in blocks(page):
        if block.is_run and block.language in RUN:
            try:
                pipeline.run(block)
            except AssertionError as error:
                raise AssertionError(f"{block}: {error}") from None


def compiler(binaries: Path) -> list[str]:
    """What is known to the compiler: the built modules, and the C modules below them."""
    maps = [*ROOT.glob("Sources/*/module.modulemap"), *ROOT.glob(".build/checkouts/*/Sources/*/include/module.modulemap"),
            *binaries.glob("*.build/module.modulemap")]
    return ["-I", str(binaries / "Modules"), *(word for file in maps for word in ("-Xcc", f"-fmodule-map-file={file}"))]


def test_the_snippets_in_swift_compile(binaries, tmp_path):
    files = []
    for page in PAGES:
        for block in blocks(page):
            if not block.is_run or block.language != "swift":
                continue
            imports = re.findall(r"(?m)^import .*$", block.text)
            body = re.sub(r"(?m)^import .*$", "", block.text)
            name = re.sub(r"\W", "_", str(block))
            files.append(tmp_path / f"{name}.swift")
            # One line before the first of the block, as in the page: errors name the page's lines.
            files[-1].write_text("\n".join(imports) + f"\nfunc {name}() async throws {{\n"
                                 f'#sourceLocation(file: "{page.name}", line: {block.line + 1})\n{body}\n#sourceLocation()\n}}\n')
    assert files
    done = subprocess.run(["swiftc", "-typecheck", "-swift-version", "6", "-warnings-as-errors", "-module-name", "Snippets",
                           *compiler(binaries), *files],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:5000]


def test_the_documentation_of_the_client_converts_without_a_warning(binaries, tmp_path):
    info = json.loads(subprocess.run(["swiftc", "-print-target-info"], capture_output=True, check=True).stdout)
    toolchain = Path(info["paths"]["runtimeResourcePath"]).parents[1] / "bin"
    if not (toolchain / "docc").exists():
        pytest.skip("the toolchain has no docc")
    # The types that the client gives on from other modules have no pages here, so they are named as code, without a link.
    subprocess.run([toolchain / "swift-symbolgraph-extract", "-module-name", "EventStreamClient", "-output-dir", tmp_path,
                    "-minimum-access-level", "public", "-target", info["target"]["triple"], *compiler(binaries)], check=True)
    done = subprocess.run([toolchain / "docc", "convert", CATALOG, "--additional-symbol-graph-dir", tmp_path,
                           "--warnings-as-errors", "--output-path", tmp_path / "out",
                           "--fallback-bundle-identifier", "EventStreamClient"], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[:5000]
