"""A bank: a ledger in the database of the stream, and a receiver that keeps the balances in a database of its own. Everything of it may be
killed, and the stream may fail over to a standby that lags behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg

from Harness.findings import Findings
from Harness.pipeline import Pipeline
from Harness.postgres import Server
from Harness.processes import Process
from Harness.sockets import free_endpoint
from Harness.waiting import eventually, until_answered
from Harness.worker import DatabaseWorker

HERE = Path(__file__).parent
ACCOUNTS = "ABCDE"
RECORD = """
    WITH recorded AS (
        SELECT evt_add('PAID', json_build_object('account', account, 'amount', amount)) AS id, account, amount
        FROM (SELECT %s AS account, %s::bigint AS amount) what)
    INSERT INTO ledger SELECT id, account, amount FROM recorded
"""


class Writer(DatabaseWorker):
    """Records payments, some of them together."""

    def __init__(self, url: str, draw: random.Random, findings: Findings):
        super().__init__("writer", url, findings)
        self._draw = draw

    def use(self, connection: psycopg.Connection) -> None:
        while not self.pause(self._draw.uniform(0, 0.01)):
            with connection.transaction():
                for _ in range(self._draw.choice((1, 1, 2, 10))):
                    connection.execute(RECORD, [self._draw.choice(ACCOUNTS), self._draw.randint(-100, 100)])


class Bank(Pipeline):
    """Everything that runs. `hits` counts what was killed."""

    def __init__(self, programs: Path, binaries: Path, draw: random.Random):
        self._home = Path(tempfile.mkdtemp(prefix="evt-bank-"))
        # The servers run as the user postgres.
        self._home.chmod(0o755)
        self.primary, self.standby, self.own = (Server(name, self._home / name, binaries) for name in ("primary", "standby", "own"))
        self.url = (f"postgresql://postgres@127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}/stream"
                    "?target_session_attrs=read-write&connect_timeout=2")
        own = f"postgresql://postgres@127.0.0.1:{self.own.port}/bank?connect_timeout=2"
        super().__init__(programs, self._home, {
            "EVT_DATABASE_URL": self.url, "EVT_INBOX_URL": own, "EVT_SESSION_TIMEOUT": "5s", "EVT_ACK_TIMEOUT": "2s",
            "EVT_LIVE_BIND": ""})
        endpoint = free_endpoint()
        self.pusher = self.process("evt-pusher", "pusher.log", EVT_PUSHER_BIND=endpoint)
        self.receiver = Process([sys.executable, HERE / "billing.py", endpoint], {**self.settings, "PGAPPNAME": "billing"},
                                self._home / "receiver.log")
        self.findings = Findings()
        self.writer = Writer(self.url, draw, self.findings)
        self.hits: Counter[str] = Counter()
        self._draw = draw

        self.failed_at = None
        """When the primary was killed."""

    def start(self) -> None:
        for server in (self.primary, self.own):
            server.create()
            server.start()
        self.primary.run("CREATE DATABASE stream")
        self.own.run("CREATE DATABASE bank")
        self.evt("migrate")
        assert self.evt("inbox").startswith("made the tables")
        self.primary.run("CREATE TABLE ledger (id bigint PRIMARY KEY, account text NOT NULL, amount bigint NOT NULL)", "stream")
        self.own.run((HERE / "billing.py").read_text().partition('TABLES = """')[2].partition('"""')[0], "bank")
        self.evt("consumers", "register", "BILLING")
        self.standby.copy_from(self.primary)
        self.standby.start()
        for each in (self.pusher, self.receiver, self.writer):
            each.start()
        self.goes_on()

    def log_tails(self) -> str:
        return f"{dict(self.hits)}\n{self.pusher.log_tail()}\n{self.receiver.log_tail()}"

    def stop(self) -> None:
        self.writer.stop()
        self.pusher.kill()
        self.receiver.kill()
        for server in (self.primary, self.standby, self.own):
            server.kill()
        shutil.rmtree(self._home)

    def look(self, sql: str) -> list[tuple]:
        """Rows of the receiver's own database."""
        with self.own.connect("bank") as connection:
            return connection.execute(sql).fetchall()

    def ledger(self) -> Counter:
        with self.primary.connect("stream") as connection:
            return Counter(connection.execute("SELECT id, account, amount FROM ledger").fetchall())

    def goes_on(self, count: int = 1) -> None:
        """Waits until so many events more have been processed."""
        def entries() -> int:
            # The server may recover.
            return until_answered(lambda: self.look("SELECT count(*) FROM entries")[0][0], psycopg.Error, every=0.02)
        before = entries()
        eventually(lambda: entries() >= before + count, "events are processed", every=0.02)

    # What goes wrong

    def hit(self) -> None:
        """Kills something at any moment, and waits until events are processed again."""
        what = self._draw.choice(("receiver", "receiver", "pusher", "its backend", "the pusher's backend"))
        time.sleep(self._draw.uniform(0, 0.05))
        self.hits[what] += 1
        match what:
            case "receiver" | "pusher":
                process: Process = getattr(self, what)
                assert process.is_running(), process.log_tail()
                process.kill()
                process.start()
            case "its backend":
                self._kill_backend(self.own, "billing")
            case _:
                self._kill_backend(self.primary, "evt-pusher")
        self.goes_on()

    def _kill_backend(self, server: Server, application: str) -> None:
        """The server ends all connections then, and recovers as after a crash."""
        def find() -> int:
            with server.connect("postgres") as connection:
                found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [application]).fetchone()
                return found[0] if found else 0
        os.kill(eventually(lambda: until_answered(find, psycopg.Error), f"{application} is connected", every=0.01), signal.SIGKILL)

    def fail_over(self, lost: int) -> None:
        """To a standby that lacks at least so many events that were processed."""
        self.standby.run("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.run("SELECT pg_reload_conf()")
        self.standby.wait_until(
            lambda connection: connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone()[0] == 0,
            "end of the stream to the standby")
        self.primary.wait_until(lambda connection: True, "an answer")
        newest = max(self.ledger())[0]
        eventually(lambda: self.look(f"SELECT count(*) FROM entries WHERE id > {newest}")[0][0] >= lost, "what will be lost is processed")
        self.primary.kill()
        self.failed_at = self.look("SELECT now()")[0][0]
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.hits["fail-over"] += 1
        # From the new generation on ids are far beyond.
        eventually(lambda: self.look("SELECT max(id) FROM entries")[0][0] > newest + 1_000_000, "events of the new primary are processed")

    # The end

    def finish(self) -> None:
        """Everything recorded is processed and confirmed."""
        self.writer.stop()
        self.primary.wait_until(lambda connection: True, "an answer")
        last = max(self.ledger())[0]
        with self.primary.connect("stream") as connection:
            eventually(lambda: connection.execute("SELECT last_evt_id FROM evt_consumers").fetchone()[0] >= last, "everything is confirmed")
        assert self.findings.count == 0
