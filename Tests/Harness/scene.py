"""What scenarios run: an active database, a warehouse, the programs, and an account of all that was ever committed."""

from __future__ import annotations

from pathlib import Path

from Harness.findings import Findings
from Harness.pipeline import LOGINS, Pipeline, login
from Harness.postgres import Server
from Harness.processes import Child, Supervisor


class Scene(Pipeline):
    """Servers of its own, and processes that are looked after."""

    active: Server
    """Where the stream is at present."""
    warehouse: Server

    def __init__(self, directory: Path, programs: Path, findings: Findings, settings: dict[str, str]):
        super().__init__(programs, directory, settings)
        self.findings = findings
        self.supervisor: Supervisor | None = None

    def create(self) -> None:
        """Starts the servers, and makes all that is there before the processes."""
        raise NotImplementedError

    def create_databases(self) -> None:
        """Both, with their tables, the logins of the processes, and triggers that note what happens."""
        self.active.run("CREATE DATABASE evt")
        self.warehouse.run("CREATE DATABASE evt_archive")
        self.evt("migrate", "--roles")
        for server in {self.active, self.warehouse}:
            server.run(LOGINS)
        kit = Path(__file__).parent
        self.active.run_file(kit / "truth.sql", "evt")
        self.active.run_file(kit / "active.sql", "evt")
        self.warehouse.run_file(kit / "warehouse.sql", "evt_archive")

    def register(self, *consumers: str) -> None:
        for consumer in consumers:
            self.evt("consumers", "register", consumer)

    def url(self, hosts: list[tuple[str, int]], database: str, role: str | None = None, options: str = "") -> str:
        """Of a database, for a process's login, or for a superuser."""
        user = login(role) if role else "postgres"
        return f"postgresql://{user}@{','.join(f'{host}:{port}' for host, port in hosts)}/{database}{options}"

    def child(self, name: str, settings: dict[str, str], command: list | None = None, **options) -> Child:
        """A process called `generator_a`, say, which is to be started."""
        command = command or [self.programs / f"evt-{name.split('_')[0]}"]
        return Child(name, command, {**self.settings, **settings}, self.directory / f"{name}.log", self.findings, **options)

    def start_children(self, children: list[Child]) -> None:
        self.supervisor = Supervisor(children)
        self.supervisor.start()

    def query(self, sql: str) -> list[tuple]:
        """Rows of the active database."""
        with self.active.connect("evt") as connection:
            return connection.execute(sql).fetchall()

    def query_warehouse(self, sql: str) -> list[tuple]:
        with self.warehouse.connect("evt_archive") as connection:
            return connection.execute(sql).fetchall()

    def add_last(self) -> int:
        """Records one more event, which everybody wants, and returns its id."""
        return self.query("""SELECT evt_add('ALPHA', '{"k":"last"}')""")[0][0]

    def left(self, last: int) -> list[str]:
        """What is still to be done until all up to the last event is confirmed, archived and discarded."""
        left = [f"{ident} is at {position} of {last}" for ident, position in self.query(
            "SELECT ident, last_evt_id FROM evt_consumers ORDER BY ident") if position < last]
        archived = self.query_warehouse("SELECT max(last_evt_id) FROM evt_history_positions")[0][0]
        if archived is None or archived < last:
            left.append(f"the archive is at {archived}")
        if count := self.query("SELECT count(*) FROM evt_queue")[0][0]:
            left.append(f"{count} events are not discarded")
        return left

    def close(self) -> None:
        """Whatever still runs ends."""
        if self.supervisor is not None:
            self.supervisor.kill()
        self.stop_servers()

    def stop_servers(self) -> None:
        raise NotImplementedError
