"""The load: transactions of an application, by pgbench."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from Rivals.rival import Rival, event
from Rivals.world import ACCOUNTS

MANY = 100
"""Events of a transaction that records many."""

_FILLER = "CREATE TABLE filler AS SELECT string_agg(md5(g::text), '') AS text FROM generate_series(1, 32768) g"
"""A text of 1 MB that does not compress."""


def script(rival: Rival, events: int, filler: str | None = None) -> str:
    """A transaction that changes an account, adds an entry, and records events."""
    more = [filler] if filler else []
    if events == 1:
        statement = rival.one(event(":client_id::int", ":n::int", *more))
    else:
        statement = rival.many(event(":client_id::int", f":n::int * {events} + g", *more), f"generate_series(1, {events}) g")
    return f"""\\set id random(1, {ACCOUNTS})
\\set n :n + 1
BEGIN;
UPDATE account SET n = n + 1 WHERE id = :id;
INSERT INTO entry (account, n) VALUES (:id, :n);
{f"{statement};" if statement else ""}
END;
"""


class Load:
    """One run of pgbench."""

    def __init__(self, rival: Rival, clients: int, seconds: float, *, events: int = 1, rate: int = 0, filler: str | None = None):
        self._site, self._events, self._rate = rival.site, events, rate
        if filler:
            self._site.run(_FILLER)
        file = self._site.directory / "transaction.sql"
        file.write_text(script(rival, events, filler))
        self._log = self._site.directory / "pgbench"
        self._command = [
            self._site.postgres / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
            "-T", str(max(1, round(seconds))), "-D", "n=0", "-f", file, *(["-R", str(rate)] if rate else []),
            *(["--log", f"--log-prefix={self._log}"] if rate else []), self._site.url]

    def run(self) -> float:
        """Transactions a second; one that fails is an error."""
        done = subprocess.run(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        assert done.returncode == 0 and rate and (not failed or failed[1] == "0"), done.stdout[-2000:]
        return float(rate[1])

    @property
    def committed(self) -> int:
        """Events of all transactions that are in the database."""
        return self._site.value("SELECT count(*) FROM entry") * self._events

    def commits(self) -> dict[str, float]:
        """When COMMIT returned, by the key of the event, in seconds of the wall clock; of a run with a rate."""
        times = {}
        for file in self._log.parent.glob("pgbench.*"):
            for line in file.read_text().splitlines():
                client, number, _, _, seconds, microseconds, *_ = line.split()
                times[f"{client}-{number}"] = int(seconds) + int(microseconds) / 1e6
        return times


def fill(rival: Rival, count: int, each: int = 10_000) -> None:
    """Records events without a change of the application's own."""
    with rival.site.server.connect(rival.site.database) as connection:
        for first in range(1, count + 1, each):
            source = f"generate_series({first}, {min(first + each - 1, count)}) g"
            connection.execute(rival.fill(event("0", "g"), source).replace("%", "%%"), [])
