"""TCP links that fail in every way a network can.

Runs as a process of its own, so that it forwards whatever the rest of the run is busy with. It reads lines of JSON:
first the list of links, `[[name, listen port, target port], …]`, then commands, `{"links": […], "mode": …}`; each is
answered with a line. It ends when its input does.

    open       bytes are forwarded
    reset      connections are reset, once
    expire     connections that had been established are reset, once, as by TCP's own timeouts
    refuse     connections are reset, and nobody listens
    blackhole  bytes vanish and nobody is told; afterwards the connections that lost some are reset
    stall      nothing moves; afterwards all goes on as if nothing had been
    delay      everything comes late
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

MODES = ("reset", "refuse", "blackhole", "stall", "delay")
_DELAY_SECONDS = 0.1


class _Connection:
    """One connection through a link: both its halves."""

    def __init__(self, link: _Link, near: asyncio.StreamWriter):
        self.link = link
        self.sides = [near]
        self.has_lost_bytes = False

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            if self.link.mode == "delay":
                await asyncio.sleep(_DELAY_SECONDS)
            while self.link.mode == "stall":
                await self.link.change.wait()
            if self.link.mode == "blackhole":
                # That the other end is gone is not told either.
                self.has_lost_bytes = True
                if not data:
                    return
                continue
            if not data or self.has_lost_bytes:
                return self.reset()
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                return self.reset()

    def reset(self) -> None:
        for side in self.sides:
            end = side.get_extra_info("socket")
            if end is not None and end.fileno() >= 0:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.transport.abort()
        self.link.connections.discard(self)


class _Link:
    """Listens on one port and forwards to another."""

    def __init__(self, listen: int, target: int):
        self.listen, self.target = listen, target
        self.mode = "open"
        self.change = asyncio.Event()
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.listen)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer)
        self.connections.add(connection)
        while self.mode in ("stall", "blackhole"):
            connection.has_lost_bytes = self.mode == "blackhole"
            await self.change.wait()
        if connection not in self.connections:
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return connection.reset()
        connection.sides.append(far)
        for coroutine in (connection.forward(reader, far), connection.forward(far_reader, writer)):
            task = asyncio.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def set(self, mode: str) -> None:
        if mode == "expire":
            for connection in [each for each in self.connections if len(each.sides) == 2]:
                connection.reset()
            return
        if mode == self.mode:
            return
        previous, self.mode = self.mode, mode
        if previous == "refuse" and mode != "refuse":
            await self.open()
        if mode in ("reset", "refuse") or previous == "blackhole":
            for connection in list(self.connections):
                if mode != "open" or connection.has_lost_bytes:
                    connection.reset()
        if mode == "refuse" and self._server is not None:
            self._server.close()
        if mode == "reset":
            self.mode = "open"
        self.change.set()
        self.change = asyncio.Event()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    links: dict[str, _Link] = {}

    async def next_line() -> str:
        return await loop.run_in_executor(None, sys.stdin.readline)

    for name, listen, target in json.loads(await next_line()):
        links[name] = _Link(listen, target)
        await links[name].open()
    print("open", flush=True)
    while line := await next_line():
        command = json.loads(line)
        for name in command["links"]:
            await links[name].set(command["mode"])
        print("done", flush=True)


class Network:
    """The links between the processes, from the outside."""

    def __init__(self, links: dict[str, tuple[int, int]], log: Path):
        """`links`: name to listening port and target port."""
        self.names = sorted(links)
        self._lock = threading.Lock()
        self._faults: dict[str, list[str]] = {name: [] for name in links}
        """What is wrong with each link at present; the latest counts."""
        with log.open("wb") as errors:
            self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=errors, text=True)
        self._tell([[name, *ports] for name, ports in links.items()])

    def matching(self, patterns: tuple[str, ...]) -> list[str]:
        return [name for name in self.names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]

    def reset(self, *patterns: str) -> None:
        """Resets the connections there are."""
        with self._lock:
            self._tell({"links": self.matching(patterns), "mode": "reset"})
            self._show(self.matching(patterns))

    def expire(self, *patterns: str) -> None:
        """Resets connections that had been established; whoever is connecting is not told anything."""
        with self._lock:
            self._tell({"links": self.matching(patterns), "mode": "expire"})

    @contextmanager
    def fault(self, mode: str, *patterns: str):
        """While inside, the links that match are in this mode."""
        links = self.matching(patterns)
        with self._lock:
            for link in links:
                self._faults[link].append(mode)
            self._show(links)
        try:
            yield
        finally:
            with self._lock:
                for link in links:
                    self._faults[link].remove(mode)
                self._show(links)

    def _show(self, links: list[str]) -> None:
        for mode in ("open", *MODES):
            if chosen := [link for link in links if (self._faults[link] or ["open"])[-1] == mode]:
                self._tell({"links": chosen, "mode": mode})

    def _tell(self, message) -> None:
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError("the proxy has ended")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)


if __name__ == "__main__":
    asyncio.run(_serve())
