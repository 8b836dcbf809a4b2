"""PgQ, tuned for latency."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from Rivals.rival import Rival, called


class Pgq(Rival):
    name = "pgq"
    what = ("`pgq.insert_event`; pgqd with ticker_period 0.05 and ticker_max_lag 0, tuned for latency; next_batch, get_batch_events "
            "and finish_batch in a transaction, every 20 ms when empty")
    guarantees = "at least once; order of ids in batches of commits; fan-out; kept while the queue's tables rotate"
    keeps_order = is_reliable = True
    consumer_program = "pgq"
    runs_while_filled = True  # without ticks all would be one batch

    @classmethod
    def missing(cls) -> str:
        share = subprocess.run(["pg_config", "--sharedir"], stdout=subprocess.PIPE, text=True).stdout.strip()
        there = (Path(share) / "extension/pgq.control").exists() and shutil.which("pgqd")
        return "" if there else "postgresql-15-pgq3 and pgqd"

    def prepare(self) -> None:
        self.site.run("CREATE EXTENSION pgq", "SELECT pgq.create_queue('ev')",
                      "SELECT pgq.set_queue_config('ev', 'ticker_max_lag', '0')",
                      "SELECT pgq.set_queue_config('ev', 'ticker_idle_period', '0')",
                      *(f"SELECT pgq.register_consumer('ev', '{component}')" for component in self.components))

    def many(self, data: str, source: str) -> str:
        return called(f"pgq.insert_event('ev', 'ORDER', {data})", source)

    def start_servers(self) -> None:
        if self.servers:
            return  # since the queue was filled
        file = self.site.directory / "pgqd.ini"
        file.write_text(f"""[pgqd]
base_connstr = host=127.0.0.1 port={self.site.server.port} user=postgres
initial_database = {self.site.database}
database_list = {self.site.database}
logfile = {self.site.directory / "pgqd.out"}
pidfile = {self.site.directory / "pgqd.pid"}
ticker_period = 0.05
check_period = 60
""")
        # It refuses to run as root.
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        self.serve([*as_postgres, "pgqd", file], "pgqd")

    def options(self) -> dict:
        return {"url": self.site.url, "components": self.components}
