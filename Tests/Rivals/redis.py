"""Redis Streams behind a relay."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from Harness.postgres import free_port
from Rivals.outbox import Relayed
from Rivals.rival import STATE

_UNPACKED = STATE / "redis/usr"


def _server() -> str | None:
    return shutil.which("redis-server") or shutil.which(_UNPACKED / "bin/redis-server")


class Redis(Relayed):
    name = "redis"
    what = ("outbox; a relay that reads as `skip` does, 1000 XADD in a pipeline, MAXLEN ~ 2M; redis-server with appendfsync always; "
            "XREADGROUP COUNT 1000 BLOCK, one XACK a batch, raw RESP with hiredis")
    guarantees = "at least once; about the order of ids; fan-out by groups; kept up to MAXLEN"
    drain_events = 200_000
    consumer_program = "redis"

    @classmethod
    def missing(cls) -> str:
        return "" if _server() and find_spec("hiredis") else "redis-server and hiredis (PyPI)"

    def start_servers(self) -> None:
        self.port = free_port()
        libraries = ":".join(map(str, _UNPACKED.glob("lib/*-linux-gnu")))
        self.serve([_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.site.directory, "--save", "",
                    "--appendonly", "yes", "--appendfsync", "always"], "redis-server", LD_LIBRARY_PATH=libraries)
        self.wait_for_broker()
