"""What recording and delivering cost. Nothing is timed, only counted, so that a busy machine changes nothing.

A figure may be a tenth above the one in costs.json. With -s the figures of this run are printed as they would stand there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from delivery import CountedStream
from recording import count_instructions

from Harness.pipeline import Pipeline
from Harness.postgres import Server

COSTS = json.loads(Path(__file__).with_name("costs.json").read_text())


@pytest.fixture(scope="module")
def directory():
    """A directory that the user postgres can reach."""
    with tempfile.TemporaryDirectory(prefix="evt-costs-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="module")
def new_server(directory):
    """Starts a server of this name."""
    servers: list[Server] = []

    def start(name: str) -> Server:
        servers.append(Server(name, directory / name, Path(shutil.which("initdb")).parent))
        servers[-1].create()
        servers[-1].start()
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def stream(new_server, binaries, directory):
    stream = CountedStream(new_server("delivery"), binaries, directory)
    yield stream
    stream.close()


def exceeds(figure: float, known: float) -> bool:
    return figure > known * 1.1


def least(count, known: dict[str, float]) -> dict[str, float]:
    """The least of several counts, since chance only adds: of more of them while there is too much."""
    count()
    figures = count()
    for again in range(20):
        if again >= 3 and not any(exceeds(figures[name], known[name]) for name in figures):
            break
        figures = {name: min(figures[name], figure) for name, figure in count().items()}
    return figures


@pytest.fixture(scope="module")
def one_event(stream):
    return least(stream.one_event, COSTS["one_event"])


@pytest.fixture(scope="module")
def a_thousand_of_many_events(stream):
    return least(stream.many_events, COSTS["a_thousand_of_many_events"])


@pytest.fixture(scope="module")
def recording(new_server, binaries, directory):
    server = new_server("recording")
    Pipeline(binaries, directory, {"EVT_DATABASE_URL": f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"}).evt("migrate")
    server.run("CHECKPOINT")
    server.stop()
    return count_instructions(server, "postgres")


@pytest.fixture(scope="module")
def figures():
    """Those of this run."""
    figures: dict[str, dict[str, float]] = {}
    yield figures
    print(f"\n{json.dumps(figures, indent=4)}")


@pytest.mark.parametrize("what, figure", [(what, figure) for what, known in COSTS.items() for figure in known])
def test_costs_no_more_than_before(request, figures, what, figure):
    before, now = COSTS[what][figure], float(f"{request.getfixturevalue(what)[figure]:.4g}")
    figures.setdefault(what, {})[figure] = now
    assert not exceeds(now, before), "etc/docs/development.md says what to do"
