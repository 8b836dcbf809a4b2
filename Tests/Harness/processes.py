"""The built programs as processes: started, asked, hit, and what becomes of each."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from Harness.findings import Findings
from Harness.waiting import eventually

STOP_SECONDS = 30
"""A process that was asked to stop has five seconds by its own clock; on a busy machine that may take longer."""

MEMORY_LIMIT = 300
"""Megabytes of a process that is looked after."""

YOUNG_SECONDS = 10
"""A process that is younger may not listen to signals yet."""

_RESTART_SECONDS = 0.3

_PIPE_BYTES = 4096
"""As much of a log as fits into its pipe while nobody reads it."""


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Our environment with these settings, and no others, of the stream."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith("EVT_")}, **settings}


def run(*command, settings: dict[str, str] | None = None, check: bool = True, timeout: float = 120) -> str:
    """Runs a program to its end, and returns what it says."""
    done = subprocess.run(command, env=environment(settings or {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=timeout)
    assert done.returncode == 0 or not check, f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-2000:]}"
    return done.stdout


class Process:
    """A process, with its output in a file."""

    def __init__(self, command: list, settings: dict[str, str], log: Path, name: str | None = None):
        self.name = name or Path(command[0]).name
        self.log = log
        self.expected_to_run = True
        self._command, self._environment = command, environment(settings)
        self._process: subprocess.Popen | None = None

    def start(self) -> Process:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=subprocess.STDOUT)
        return self

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def status(self) -> int | None:
        """The exit status, once it has ended."""
        return self._process.poll()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def memory(self) -> float:
        """Megabytes of resident memory; OSError if it has ended."""
        resident = Path(f"/proc/{self.pid}/status").read_text().partition("VmRSS:")[2]
        if not resident:
            raise ProcessLookupError(self.name)
        return int(resident.split()[0]) / 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        text = [f"    {line[:300]}" for line in self.said().splitlines()[-lines:]]
        return "\n".join([f"--- {self.name} (pid {self.pid}, status {self.status})", *text])

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status; taking too long to end is a failure."""
        self.expected_to_run = False
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {STOP_SECONDS} s\n{self.log_tail()}") from None

    def stop(self) -> int:
        """Asks the process to stop and returns its exit status."""
        assert self.is_running(), f"{self.name} had ended already\n{self.log_tail()}"
        self.signal(signal.SIGTERM)
        return self.wait()

    def reload(self) -> None:
        """Lets the process read its files again, and waits until it has."""
        before = self.said().count("authorized keys ")
        self.signal(signal.SIGHUP)
        eventually(lambda: self.said().count("authorized keys ") > before, f"SIGHUP has an effect on {self.name}", every=0.01)

    def kill(self) -> None:
        """Ends the process without warning."""
        self.expected_to_run = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Child(Process):
    """One process of a scenario, across all its restarts. One that ends by itself is a violation."""

    def __init__(self, name: str, command: list, settings: dict[str, str], log: Path, findings: Findings, *,
                 output=None, stops_cleanly: bool = True):
        super().__init__(command, settings, log, name)
        self.most_memory = 0.0
        """Megabytes."""
        self._findings = findings
        self._output = output
        self._stops_cleanly = stops_cleanly
        self._reads_log = threading.Event()
        self._reads_log.set()
        self._lock = threading.RLock()
        self._started = 0.0
        self._log_begin = 0
        self._is_young = False
        """It does not listen to signals yet, perhaps."""
        self._restart_at = 0.0
        self._is_frozen = False
        self._stops = 0
        self._fate: set[str] = set()
        """What we have done to it: `killed`, `stopped`."""

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
        process, deadline = self._process, 0.0
        while process.poll() is None:
            if self._is_frozen or deadline == 0:
                deadline = time.monotonic() + STOP_SECONDS
            elif time.monotonic() > deadline:
                self._findings.violation("stop", f"{self.name} did not stop within {STOP_SECONDS} s\n{self.log_tail()}")
                return self.kill()
            time.sleep(0.02)

    def _hit(self, number: int, fate: str | None = None) -> None:
        with self._lock:
            if self.is_running():
                self._fate |= {fate} if fate else set()
                if number == signal.SIGTERM and self._stops == 0:
                    # On a busy machine it may take long until it has said something.
                    age = time.monotonic() - self._started
                    self._is_young = age < YOUNG_SECONDS or self.log.stat().st_size == self._log_begin
                self._stops += number == signal.SIGTERM
                self.signal(number)

    def watch(self, *, restart: bool = True) -> None:
        """Looks after it: called again and again."""
        with self._lock:
            if self._process is None:
                return
            if self.is_running():
                self._measure()
            elif self._restart_at == 0:
                self._check_end(self.status)
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
            self._findings.violation("ended", f"{self.name} ended {how}, after {age:.1f} s\n{self.log_tail()}")

    def _measure(self) -> None:
        try:
            megabytes = self.memory()
        except OSError:
            return
        if megabytes > MEMORY_LIMIT >= self.most_memory:
            self._findings.violation("memory", f"{self.name} has {megabytes:.0f} MB")
        self.most_memory = max(self.most_memory, megabytes)


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
