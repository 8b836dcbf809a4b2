"""Carrying out what the schedule says."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg

from Harness.waiting import until_answered
from deployment import Deployment
from schedule import TRACKS, Fault


@dataclass
class Ended:
    """A fault that is over."""

    fault: Fault
    at: float
    """By the clock of the events' times."""


class Faults:
    """Carries faults out, each track in a thread of its own."""

    def __init__(self, deployment: Deployment):
        self._deployment = deployment
        self._findings = deployment.findings
        self.ended: list[Ended] = []
        self._threads: list[threading.Thread] = []
        self._for_good = ExitStack()

    def start(self, schedule: list[Fault]) -> None:
        begin = time.monotonic()
        for track in TRACKS:
            faults = [fault for fault in schedule if fault.track == track.name]
            self._threads.append(threading.Thread(target=self._run, args=(faults, begin), daemon=True))
            self._threads[-1].start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Ends also those that were for good."""
        self._for_good.close()

    def _run(self, faults: list[Fault], begin: float) -> None:
        for fault in faults:
            time.sleep(max(0, begin + fault.at - time.monotonic()))
            self._findings.say(f"{fault}")
            over = Ended(fault, 0)
            try:
                getattr(self, f"_{fault.kind}")(fault, over)
            except psycopg.Error as error:
                # Another fault has hit the database meanwhile.
                self._findings.say(f"{fault.kind} cut short: {str(error).splitlines()[0]}")
            except Exception as error:
                self._findings.violation("harness", f"{fault}: {error!r}")
            over.at = over.at or time.time()
            self.ended.append(over)

    # Processes

    def _victims(self, fault: Fault):
        return [self._deployment.supervisor.children[name] for name in fault.victims]

    def _kill(self, fault: Fault, over: Ended) -> None:
        for child in self._victims(fault):
            child.kill()

    def _freeze(self, fault: Fault, over: Ended) -> None:
        for child in self._victims(fault):
            child.freeze()
        time.sleep(fault.seconds)
        for child in self._victims(fault):
            child.thaw()

    def _stop(self, fault: Fault, over: Ended) -> None:
        for child in self._victims(fault):
            child.stop()

    def _rolling(self, fault: Fault, over: Ended) -> None:
        for child in self._victims(fault):
            child.stop()
            time.sleep(1)

    # The active database

    def _active(self, fault: Fault, over: Ended) -> None:
        with self._deployment.network.fault("refuse", f"*>{self._deployment.active.name}"):
            self._deployment.pair.restart_primary(fault.seconds)

    def _standby(self, fault: Fault, over: Ended) -> None:
        self._deployment.pair.restart_standby(fault.seconds)

    def _failover(self, fault: Fault, over: Ended) -> None:
        deployment = self._deployment
        old = deployment.active
        begin = time.monotonic()
        with deployment.network.fault("refuse", f"*>{old.name}"):
            # Its machine is gone: nobody even says so.
            with deployment.network.fault("blackhole" if fault.seconds else "refuse", f"*>{old.name}"):
                deployment.pair.fail_over()
                self._findings.say(f"failover: {deployment.active.name} has taken over")
                time.sleep(max(0, begin + fault.seconds - time.monotonic()))
            over.at = time.time()
            deployment.pair.add_standby()
        self._findings.say("failover: a new standby follows")

    def _lost_host(self, fault: Fault, over: Ended) -> None:
        network = self._deployment.network
        links = f"*>{self._deployment.active.name}"
        # To the end of the run, and while all is to be delivered.
        self._for_good.enter_context(network.fault("blackhole", links))
        self._deployment.pair.fail_over()
        # What the proxy has swallowed TCP would not have seen acknowledged.
        time.sleep(3)
        network.expire(links)

    def _terminate(self, fault: Fault, over: Ended) -> None:
        self._terminate_backends(self._deployment.active, "evt", fault.detail)

    def _terminate_backends(self, server, database: str, application: str = "%") -> None:
        with server.connect("postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s "
                "AND pid <> pg_backend_pid()", [database, application])

    def _settings(self, fault: Fault, over: Ended) -> None:
        self._with_setting(self._deployment.active, "evt", fault)

    def _with_setting(self, server, database: str, fault: Fault) -> None:
        with server.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {database} SET {fault.detail}")
        try:
            # Only new sessions have it.
            self._terminate_backends(server, database)
            time.sleep(fault.seconds)
        finally:
            until_answered(lambda: server.run(f"ALTER DATABASE {database} RESET ALL"), psycopg.Error)
            self._terminate_backends(server, database)

    # The warehouse

    def _warehouse(self, fault: Fault, over: Ended) -> None:
        warehouse = self._deployment.warehouse
        with self._deployment.network.fault("refuse", "*>warehouse"):
            warehouse.kill()
            time.sleep(fault.seconds)
            warehouse.start()

    _outage = _warehouse

    def _warehouse_settings(self, fault: Fault, over: Ended) -> None:
        self._with_setting(self._deployment.warehouse, "evt_archive", fault)

    def _history_lock(self, fault: Fault, over: Ended) -> None:
        with self._deployment.warehouse.connect("evt_archive") as connection, connection.transaction():
            connection.execute(f"LOCK TABLE evt_history IN {fault.detail} MODE")
            time.sleep(fault.seconds)

    # Locks

    def _row_lock(self, fault: Fault, over: Ended) -> None:
        with self._deployment.active.connect("evt") as connection, connection.transaction():
            connection.execute("SELECT FROM evt_consumers WHERE ident = ANY(%s) FOR UPDATE",
                               [[f"local:{name}" for name in fault.victims]])
            time.sleep(fault.seconds)

    def _table_lock(self, fault: Fault, over: Ended) -> None:
        """Also readers wait, and whoever comes behind it."""
        with self._deployment.active.connect("evt") as connection, connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '5s'")
            connection.execute(f"LOCK TABLE {fault.victims[0]} IN ACCESS EXCLUSIVE MODE")
            time.sleep(fault.seconds)

    def _policy(self, fault: Fault, over: Ended) -> None:
        """Rows are hidden from every process for a while: none may take that for the truth."""
        table = fault.victims[0]
        with self._deployment.active.connect("evt") as connection:
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(f"CREATE POLICY hides ON {table} USING (false) WITH CHECK (true)")
            connection.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        time.sleep(fault.seconds)

        def undo() -> None:
            self._deployment.active.run(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", "evt")
            self._deployment.active.run(f"DROP POLICY IF EXISTS hides ON {table}", "evt")
        until_answered(undo, psycopg.Error)

    # Logs

    def _log_stall(self, fault: Fault, over: Ended) -> None:
        for child in self._victims(fault):
            child.stall_log()
        time.sleep(fault.seconds)
        for child in self._victims(fault):
            child.resume_log()

    # The network

    def _reset(self, fault: Fault, over: Ended) -> None:
        self._deployment.network.reset(*fault.victims)

    def _network_fault(self, fault: Fault, over: Ended) -> None:
        with self._deployment.network.fault(fault.kind, *fault.victims):
            time.sleep(fault.seconds)

    _refuse = _blackhole = _stall = _delay = _network_fault
