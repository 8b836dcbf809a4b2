"""A supervisord that runs the four programs as etc/supervisor says."""

from __future__ import annotations

import sys
from pathlib import Path
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from Harness.processes import Process
from Harness.waiting import eventually
from files import SUPERVISOR, adapted, user


class Supervised:
    """The supervisord, its four programs, and their logs."""

    def __init__(self, binaries: Path, settings_file: Path, directory: Path, socket: Path):
        self.logs = directory / "logs"
        self.logs.mkdir()
        programs = directory / "eventstream.conf"
        programs.write_text(adapted(SUPERVISOR.read_text(), {
            "/usr/local/bin": binaries, "/etc/eventstream/evt.env": settings_file,
            "/var/log/eventstream": self.logs, "user=eventstream": f"user={user()}"}))
        configuration = directory / "supervisord.conf"
        configuration.write_text(
            f"[unix_http_server]\nfile={socket}\n"
            f"[supervisord]\nuser={user()}\nnodaemon=true\nchildlogdir={directory}\n"
            f"logfile={directory}/supervisord.log\npidfile={directory}/supervisord.pid\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[include]\nfiles={programs}\n")
        self.log = directory / "supervisord.out"
        self._process = Process([sys.executable, "-m", "supervisor.supervisord", "-c", configuration], {}, self.log).start()
        self._socket = socket

    def _call(self, method: str, *arguments):
        # A connection each time: the transport does not get over one that failed.
        with ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{self._socket}")) as server:
            return getattr(server.supervisor, method)(*arguments)

    def wait_until_all_run(self) -> None:
        eventually(self._all_run, "all run", timeout=60)

    def _all_run(self) -> bool:
        assert self._process.is_running(), f"supervisord ended\n{self.tails()}"
        try:
            return self.all_are("RUNNING")
        except OSError:
            return False  # it does not listen yet

    def programs(self) -> dict[str, dict]:
        """What supervisord says of each program."""
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def pids(self) -> dict[str, int]:
        """The process of each program, 0 where there is none."""
        return {name: info["pid"] for name, info in self.programs().items()}

    def all_are(self, state: str) -> bool:
        return {info["statename"] for info in self.programs().values()} == {state}

    def start_all(self) -> None:
        self._call("startProcessGroup", "eventstream")

    def stop_all(self) -> None:
        """Stops the programs, and waits for their end."""
        self._call("stopProcessGroup", "eventstream")

    def said(self, program: str) -> str:
        """What the program has said so far."""
        return (self.logs / f"{program}.log").read_text()

    def close(self) -> int:
        """Stops supervisord and with it the programs, and returns its exit status."""
        return self._process.stop() if self._process.is_running() else self._process.status

    def tails(self) -> str:
        return "\n".join([self.log.read_text()[-2000:], *(file.read_text()[-2000:] for file in self.logs.iterdir())])
