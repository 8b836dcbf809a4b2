"""The pages for people say what is so: their commands run, their snippets compile, their links and names lead somewhere.

Run these tests with etc/test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from Harness.database import Cluster
from Harness.processes import environment
from Harness.sockets import free_endpoint
from Harness.waiting import eventually
from pages import ROOT, Block

PROCESSES = ("evt-generator", "evt-pusher", "evt-archiver", "evt-discarder")
ROLES = ("my_app", "my_pusher")
"""Login roles that the pages make."""


class Pipeline:
    """Two databases and the four processes, for the commands of the pages. They run in a directory of their own."""

    def __init__(self, cluster: Cluster, binaries: Path, directory: Path):
        self.active, self.warehouse = cluster.create_database(), cluster.create_database()
        self._cluster, self._directory = cluster, directory
        self._ports = {port: free_endpoint().rpartition(":")[2]
                       for port in ("5570", "5571", "5572", "6571", "6572", "8080", "9570", "9571", "9572", "9573", "9574")}
        connect = {f"EVT_{name}_{way}": self.adapted(f"tcp://127.0.0.1:{port}") for way in ("BIND", "CONNECT")
                   for name, port in (("GENERATOR", 5570), ("PUSHER", 5571), ("LIVE", 5572))}
        self.environment = environment({
            **connect, "EVT_DATABASE_URL": self.active.conninfo, "EVT_ARCHIVE_URL": self.warehouse.conninfo,
            "EVT_INBOX_URL": self.active.conninfo, "EVT_DISCARD_REQUIRE": "ARCHIVER", "PIPELINE": str(directory),
            "PYTHONUNBUFFERED": "1",
            "EVT_METRICS_CONNECT": ",".join(self.adapted(f"127.0.0.1:957{index}") for index in range(4)),
            # What a page names is in its place: our programs, Python with ZeroMQ, a systemctl that knows these processes.
            "PATH": ":".join(map(str, [directory / "bin", binaries, Path(sys.executable).parent, os.environ["PATH"]]))})
        (directory / "bin").mkdir()
        (directory / "bin/systemctl").symlink_to(ROOT / "Tests/Pages/systemctl")
        (directory / "etc").symlink_to(ROOT / "etc")
        for index, name in enumerate(PROCESSES):
            (directory / f"{name}.metrics").write_text(self.adapted(f"127.0.0.1:957{index}"))
        self._run("evt migrate --roles && systemctl start " + " ".join(PROCESSES))
        self._run("evt add READY --timeout 60s && evt poll LIVE --timeout 60s")

    def adapted(self, text: str) -> str:
        """The text with ports of this pipeline in place of the standard ones."""
        return re.sub(r"(?<=127\.0\.0\.1:)\d{4}", lambda port: self._ports.get(port[0], port[0]), text)

    def _arguments(self, block: Block) -> list[str]:
        text = self.adapted(block.text)
        if block.language == "python":
            return ["python3", "-c", text]
        if block.language == "sql":
            url = {"": self.active, "warehouse": self.warehouse}[block.database].conninfo
            return ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", text]
        return ["bash", "-uo" if block.may_fail else "-euo", "pipefail", "-c", text]

    def run(self, block: Block) -> None:
        if block.until:
            self._run_until(block)
        else:
            self._check(self._arguments(block), may_fail=block.may_fail)

    def _run(self, command: str) -> None:
        self._check(["bash", "-euo", "pipefail", "-c", command])

    def _check(self, arguments: list[str], may_fail: bool = False) -> None:
        done = subprocess.run(arguments, cwd=self._directory, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=60)
        assert done.returncode == 0 or may_fail, f"exit status {done.returncode}\n{done.stdout[-5000:]}\n{self._log_tails()}"

    def _run_until(self, block: Block) -> None:
        log = self._directory / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(self._arguments(block), cwd=self._directory, env=self.environment,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            def seen() -> bool:
                over = process.poll()
                if block.until in log.read_text(errors="replace"):
                    return True
                assert over is None, f"it ended with status {over}\n{log.read_text()[-5000:]}"
                self.active.value("SELECT evt_add('ORDER_PAID', '{\"order\": 17}')")
                return False
            eventually(seen, f"{block.until} in the output", timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def _log_tails(self) -> str:
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                         for log in sorted(self._directory.glob("evt-*.log")))

    def close(self) -> None:
        self._run("systemctl stop " + " ".join(file.stem for file in self._directory.glob("evt-*.pid")))
        self.active.drop()
        self.warehouse.drop()
        for role in ROLES:
            self._cluster.admin.run(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="session")
def pipeline(cluster, binaries, tmp_path_factory):
    """One for all pages."""
    pipeline = Pipeline(cluster, binaries, tmp_path_factory.mktemp("pages"))
    yield pipeline
    pipeline.close()


@pytest.fixture
def own_pipeline(cluster, binaries, tmp_path):
    """For a page whose commands leave nothing for others to work with."""
    pipeline = Pipeline(cluster, binaries, tmp_path)
    yield pipeline
    pipeline.close()
