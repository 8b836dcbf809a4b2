"""The processes under test: started, hit, and started again. One that ends by itself is a violation."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from Harness.findings import Findings

STOP_SECONDS = 5
"""A process that was asked to stop has this long."""

MEMORY_LIMIT = 300
"""Megabytes."""

YOUNG_SECONDS = 10
"""A process that is younger may not listen to signals yet."""

_RESTART_SECONDS = 0.3

_PIPE_BYTES = 4096
"""As much of a log as fits into its pipe while nobody reads it."""


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """Our environment with these settings of the stream, and no others."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith("EVT_")}, **settings}


class Child:
    """One process of the pipeline, across all its restarts."""

    def __init__(self, name: str, command: list[str], settings: dict[str, str], log: Path, findings: Findings, *,
                 output=None, stops_cleanly: bool = True):
        self.name = name
        self.log = log
        self.memory = 0
        """The most there was, in megabytes."""
        self._command = command
        self._environment = clean_environment(settings)
        self._findings = findings
        self._output = output
        self._stops_cleanly = stops_cleanly
        self._reads_log = threading.Event()
        self._reads_log.set()
        self._lock = threading.RLock()
        self._process: subprocess.Popen | None = None
        self._started = 0.0
        self._log_begin = 0
        self._is_young = False
        """It does not listen to signals yet, perhaps."""
        self._restart_at = 0.0
        self._is_frozen = False
        self._stops = 0
        self._fate: set[str] = set()
        """What we have done to it: `killed`, `stopped`."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        with self._lock, self.log.open("ab") as log:
            log.write(b"--- started\n")
            log.flush()
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                stdout=log if self._output is None else subprocess.PIPE)
            fcntl.fcntl(self._process.stderr.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            threading.Thread(target=self._read_log, args=(self._process.stderr,), daemon=True).start()
            self._started, self._fate, self._restart_at = time.monotonic(), set(), 0.0
            self._stops = 0
            if self._output is not None:
                threading.Thread(target=self._output, args=(self._process.stdout,), daemon=True).start()

    def _read_log(self, pipe) -> None:
        """As a collector of logs does."""
        with pipe, self.log.open("ab", buffering=0) as log:
            while piece := os.read(pipe.fileno(), 65536):
                log.write(piece)
                self._reads_log.wait()

    def stall_log(self) -> None:
        """Nobody reads its log."""
        self._reads_log.clear()

    def resume_log(self) -> None:
        self._reads_log.set()

    def kill(self) -> None:
        self._hit(signal.SIGKILL, "killed")

    def freeze(self) -> None:
        self._is_frozen = True
        self._hit(signal.SIGSTOP)

    def thaw(self) -> None:
        self._is_frozen = False
        self._hit(signal.SIGCONT)

    def stop(self) -> None:
        """Asks it to stop, and sees that it does in time."""
        self._hit(signal.SIGTERM, "stopped")
        process = self._process
        # It has so long by the clock; a busy machine may take longer.
        deadline = time.monotonic() + STOP_SECONDS + 25
        while process.poll() is None:
            if self._is_frozen:
                deadline = time.monotonic() + STOP_SECONDS + 25
            elif time.monotonic() > deadline:
                self._findings.violation("stop", f"{self.name} did not stop within {STOP_SECONDS} s\n{self.log_tail()}")
                return self.kill()
            time.sleep(0.02)

    def _hit(self, number: int, fate: str | None = None) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._fate |= {fate} if fate else set()
                if number == signal.SIGTERM and self._stops == 0:
                    # On a busy machine it may take long until it has said something.
                    age = time.monotonic() - self._started
                    self._is_young = age < YOUNG_SECONDS or self.log.stat().st_size == self._log_begin
                self._stops += number == signal.SIGTERM
                self._process.send_signal(number)

    def watch(self, *, restart: bool = True) -> None:
        """Looks after it: called again and again."""
        with self._lock:
            if self._process is None:
                return
            status = self._process.poll()
            if status is None:
                self._measure()
            elif self._restart_at == 0:
                self._check_end(status)
                self._restart_at = time.monotonic() + _RESTART_SECONDS
            elif restart and time.monotonic() >= self._restart_at:
                self.start()

    def _check_end(self, status: int) -> None:
        age = time.monotonic() - self._started
        allowed = {-9} if "killed" in self._fate else set()
        if "stopped" in self._fate:
            allowed |= {0, -15} if self._is_young or not self._stops_cleanly else {0}
        if self._stops > 1:
            # A second signal ends it at once.
            allowed |= {1}
        if status not in allowed:
            how = " and ".join(sorted(self._fate)) or "by itself"
            self._findings.violation(
                "ended", f"{self.name} ended with status {status}, {how}, after {age:.1f} s\n{self.log_tail()}")

    def _measure(self) -> None:
        try:
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    megabytes = int(line.split()[1]) // 1024
                    if megabytes > MEMORY_LIMIT >= self.memory:
                        self._findings.violation("memory", f"{self.name} has {megabytes} MB")
                    self.memory = max(self.memory, megabytes)
        except OSError:
            pass

    def log_tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line[:300]}" for line in text)


class Supervisor:
    """Starts again what has ended, after a short while."""

    def __init__(self, children: list[Child]):
        self.children = {child.name: child for child in children}
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        for child in self.children.values():
            child.start()
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopping.wait(0.05):
            for child in self.children.values():
                child.watch()

    def stop(self) -> None:
        """Stops everything, all at once; how each ends is checked."""
        self._is_stopping.set()
        self._thread.join()
        stoppers = [threading.Thread(target=child.stop) for child in self.children.values()]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()
        for child in self.children.values():
            child.watch(restart=False)

    def kill(self) -> None:
        self._is_stopping.set()
        for child in self.children.values():
            child.kill()
