"""Threads that do something until they are told to stop."""

from __future__ import annotations

import threading

import psycopg

from Harness.findings import Findings


class Worker(threading.Thread):
    """Runs `work` again and again; what it raises unexpectedly is a violation."""

    def __init__(self, name: str, findings: Findings):
        super().__init__(name=name, daemon=True)
        self.findings = findings
        self._is_stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping.is_set()

    def pause(self, seconds: float) -> bool:
        """Waits, unless it is told to stop; returns whether it is."""
        return self._is_stopping.wait(seconds)

    def run(self) -> None:
        while not self.is_stopping:
            try:
                self.work()
            except Exception as error:
                self.findings.violation("harness", f"{self.name}: {error!r}")
                self.pause(0.5)

    def work(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._is_stopping.set()
        self.join(30)


class DatabaseWorker(Worker):
    """Has one connection to a database, which is made anew when it is lost."""

    def __init__(self, name: str, url: str, findings: Findings):
        super().__init__(name, findings)
        self._url = url

    def work(self) -> None:
        try:
            with psycopg.connect(self._url, application_name=self.name, connect_timeout=2, autocommit=True) as connection:
                self.use(connection)
        except psycopg.Error:
            self.pause(0.1)

    def use(self, connection: psycopg.Connection) -> None:
        """Uses one connection while it is good."""
        raise NotImplementedError
