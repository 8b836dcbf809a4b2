"""Logical messages, decoded by wal2json."""

from __future__ import annotations

import subprocess
from pathlib import Path

from Harness.waiting import eventually
from Rivals.rival import Rival, called


class Logical(Rival):
    name = "logical"
    what = ("`pg_logical_emit_message(true, …)`; wal_level=logical, wal2json format 2, messages only, `pg_recvlogical` into a pipe "
            "whose lines are counted")
    guarantees = ("order of commits; one consumer a slot; kept as WAL; pg_recvlogical confirms what it has written into the pipe, "
                  "not what was processed")
    wal_level = "logical"
    needs = ("none", "none, wal_level=logical")
    keeps_order = is_reliable = True
    consumer_program = "logical"

    @classmethod
    def missing(cls) -> str:
        library = subprocess.run(["pg_config", "--pkglibdir"], stdout=subprocess.PIPE, text=True).stdout.strip()
        return "" if (Path(library) / "wal2json.so").exists() else "postgresql-15-wal2json"

    def prepare(self) -> None:
        self._slot = self.site.database
        if self.site.value("SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"):
            # Newer servers use no plugin that they have not been told of.
            self.site.run("ALTER SYSTEM SET output_plugin_libraries = 'wal2json'", "SELECT pg_reload_conf()")
            eventually(lambda: self.site.value("SHOW output_plugin_libraries") == "wal2json", "the server knows wal2json")
        self.site.run(f"SELECT pg_create_logical_replication_slot('{self._slot}', 'wal2json')")

    def many(self, data: str, source: str) -> str:
        return called(f"pg_logical_emit_message(true, 'ev', {data})", source)

    def options(self) -> dict:
        options = ("format-version=2", "include-transaction=false", "filter-tables=*.*")
        return {"command": [str(self.site.postgres / "pg_recvlogical"), "-d", self.site.url, "--slot", self._slot, "--start",
                            "-f", "-", *(f"--option={option}" for option in options)]}

    def start(self, *, keep: bool = False) -> None:
        super().start(keep=keep)
        eventually(lambda: self.site.value(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self._slot}'"),
                   "pg_recvlogical has the slot")

    def kill(self) -> None:
        super().kill()
        slots = f"pg_replication_slots WHERE slot_name = '{self._slot}'"
        eventually(lambda: not self.site.value(f"SELECT count(*) FROM {slots} AND active"), "the slot is free")
        self.site.run(f"SELECT pg_drop_replication_slot(slot_name) FROM {slots}")
