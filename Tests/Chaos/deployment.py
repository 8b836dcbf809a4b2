"""The pipeline under test: databases, links between all that talk to each other, and the built programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster import Pair, Server, free_port
from findings import Findings
from processes import Child, Supervisor, clean_environment
from proxy import Network
from operating import SQL as STEPS_SQL
from schedule import CONSUMERS

FIRST_ID = (1 << 17) - 3000
"""The stream begins here, and soon comes to its second segment."""

SETTINGS = {
    # Faults last longer than these.
    "EVT_SESSION_TIMEOUT": "2s", "EVT_ACK_TIMEOUT": "2s",
    "EVT_DISCARD_POLL_PERIOD": "200ms", "EVT_DISCARD_LIMIT": "200", "EVT_DISCARD_REQUIRE": "ARCHIVER",
}

ACTIVE_SQL = """
    -- Every event that was ever committed: the row is written with it, and stays.
    CREATE TABLE truth (id bigint PRIMARY KEY, type text, data json, ts timestamp);
    CREATE FUNCTION note_truth() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.truth VALUES (NEW.id, NEW.type, NEW.data, NEW.ts);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_truth AFTER INSERT ON evt_queue FOR EACH ROW EXECUTE FUNCTION note_truth();

    CREATE TABLE moves (ident text, before bigint, after bigint, at timestamptz);
    CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.moves VALUES (NEW.ident, OLD.last_evt_id, NEW.last_evt_id, clock_timestamp());
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_move AFTER UPDATE ON evt_consumers FOR EACH ROW
        WHEN (OLD.last_evt_id <> NEW.last_evt_id) EXECUTE FUNCTION note_move();

    CREATE TABLE generations (reason text);
    CREATE FUNCTION note_generation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.generations VALUES (NEW.generation_reason);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_generation AFTER UPDATE ON evt_queue_state FOR EACH ROW
        WHEN (OLD.generation <> NEW.generation) EXECUTE FUNCTION note_generation();

    CREATE TABLE discards (id bigint, confirmed bigint, emptied boolean);
    CREATE FUNCTION note_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.discards SELECT OLD.id, min(last_evt_id), false FROM public.evt_consumers;
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_delete AFTER DELETE ON evt_queue FOR EACH ROW EXECUTE FUNCTION note_delete();
    CREATE FUNCTION note_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        newest bigint;
    BEGIN
        EXECUTE format('SELECT max(id) FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO newest;
        INSERT INTO public.discards SELECT newest, min(last_evt_id), true FROM public.evt_consumers WHERE newest IS NOT NULL;
        RETURN NULL;
    END $$;
""" + "\n".join(
    f"CREATE TRIGGER note_truncate BEFORE TRUNCATE ON evt_queue_{segment} FOR EACH STATEMENT EXECUTE FUNCTION note_truncate();"
    for segment in range(8)) + f"\nSELECT setval('evt_queue_id_seq', {FIRST_ID});"

WAREHOUSE_SQL = """
    CREATE TABLE moves (before bigint, after bigint, is_new_generation boolean);
    CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.moves VALUES (OLD.last_evt_id, NEW.last_evt_id, OLD.generation <> NEW.generation);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_move AFTER UPDATE ON evt_history_positions FOR EACH ROW EXECUTE FUNCTION note_move();
"""


class Deployment:
    """Everything that runs."""

    def __init__(self, directory: Path, postgres: Path, programs: Path, findings: Findings):
        self.directory, self.findings = directory, findings
        self._programs = programs
        self.active = Pair(directory, postgres)
        self.warehouse = Server("warehouse", directory / "warehouse", postgres)
        self._links: dict[str, tuple[int, int]] = {}
        self._ports = {name: free_port() for name in
                       ("generator_a", "generator_b", "pusher_a", "pusher_b", "live_a", "live_b")}
        for server in (*self.active.servers, self.warehouse):
            self._ports[server.name] = server.port
        hosts = [("127.0.0.1", server.port) for server in self.active.servers]
        self.active_url = self._active_url(hosts)
        self.supervisor: Supervisor | None = None
        self.network: Network | None = None

    # Links

    def link(self, client: str, server: str, target: str | None = None) -> int:
        """The port where the client finds the server; `target` names its port, if it has several."""
        name = f"{client}>{server}"
        if name not in self._links:
            self._links[name] = (free_port(), self._ports[target or server])
        return self._links[name][0]

    def pusher_links(self, client: str) -> list[int]:
        return [self.link(client, "pusher_a"), self.link(client, "pusher_b")]

    def _active_url(self, hosts, user: str = "postgres") -> str:
        return (f"postgresql://{user}@" + ",".join(f"{host}:{port}" for host, port in hosts)
                + "/evt?target_session_attrs=read-write&connect_timeout=2")

    def _warehouse_url(self, port: int, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{port}/evt_archive"

    # Start

    def create(self) -> None:
        """Makes the databases."""
        self.active.create()
        self.warehouse.create()
        self.warehouse.start()
        self.active.primary.run("CREATE DATABASE evt")
        self.warehouse.run("CREATE DATABASE evt_archive")
        self.evt("migrate", "--roles")
        # Each process may do no more than it needs.
        for role in ("generator", "pusher", "discarder"):
            self.active.primary.run(f"CREATE ROLE chaos_{role} LOGIN IN ROLE evt_{role}")
        for role in ("archiver", "discarder"):
            self.warehouse.run(f"CREATE ROLE chaos_{role} LOGIN IN ROLE evt_{role}")
        self.active.primary.run(ACTIVE_SQL, "evt")
        self.active.primary.run(STEPS_SQL, "evt")
        self.warehouse.run(WAREHOUSE_SQL, "evt_archive")
        for consumer in CONSUMERS:
            self.evt("consumers", "register", consumer)
        self.active.add_standby()

    def start(self, tail_output) -> None:
        """Starts the processes, and the network between them."""
        children = [self._child(name, tail_output) for name in (
            "generator_a", "generator_b", "pusher_a", "pusher_b", "archiver_a", "archiver_b", "discarder", "tail")]
        self.network = Network(self._links, self.directory / "proxy.log")
        self.supervisor = Supervisor(children)
        self.supervisor.start()

    def _child(self, name: str, tail_output) -> Child:
        settings = dict(SETTINGS)
        role = name.split("_")[0]
        if role in ("generator", "pusher", "discarder"):
            settings["EVT_DATABASE_URL"] = self._active_url(
                [("127.0.0.1", self.link(name, server.name)) for server in self.active.servers], f"chaos_{role}")
        if role in ("archiver", "discarder"):
            settings["EVT_ARCHIVE_URL"] = self._warehouse_url(self.link(name, "warehouse"), f"chaos_{role}")
        if role in ("archiver", "tail"):
            settings["EVT_PUSHER_CONNECT"] = ",".join(f"tcp://127.0.0.1:{port}" for port in self.pusher_links(name))
        if role in ("generator", "pusher"):
            settings[f"EVT_{role.upper()}_BIND"] = f"tcp://127.0.0.1:{self._ports[name]}"
        if role == "pusher":
            settings["EVT_LIVE_BIND"] = f"tcp://127.0.0.1:{self._ports[name.replace('pusher', 'live')]}"
        settings["EVT_METRICS_BIND"] = ""
        command = [f"{self._programs}/evt-{role}"]
        if role == "tail":
            command = [f"{self._programs}/evt", "tail", "--component", "TAIL"]
        return Child(name, command, settings, self.directory / f"{name}.log", self.findings,
                     output=tail_output if role == "tail" else None, stops_cleanly=role != "tail")

    def evt(self, *arguments: str, check: bool = True) -> str:
        """What the operator's command prints."""
        settings = {**SETTINGS, "EVT_DATABASE_URL": self.active_url, "EVT_ARCHIVE_URL": self._warehouse_url(self.warehouse.port)}
        done = subprocess.run([f"{self._programs}/evt", *arguments], env=clean_environment(settings), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"evt {' '.join(arguments)}: {done.stdout[-1000:]}")
        return done.stdout

    def query(self, sql: str) -> list[tuple]:
        """Rows of the active database."""
        with self.active.primary.connect("evt") as connection:
            return connection.execute(sql).fetchall()

    def query_warehouse(self, sql: str) -> list[tuple]:
        with self.warehouse.connect("evt_archive") as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        """Whatever still runs ends."""
        if self.supervisor is not None:
            self.supervisor.kill()
        if self.network is not None:
            self.network.close()
        self.active.stop()
        self.warehouse.stop()
