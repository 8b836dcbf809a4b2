"""How many events a consumer has received: written by the consumer and read by the benchmark, without a message between them."""

from __future__ import annotations

import json
import mmap
import re
import signal
import struct
import sys
import threading
import time
from functools import partial
from pathlib import Path

_FIELDS = struct.Struct("<qqqq")
_KEY = re.compile(rb'\\?"k\\?":\\?"([0-9-]+)')


class Seen:
    """What the benchmark sees of it."""

    def __init__(self, file: Path):
        file.write_bytes(bytes(_FIELDS.size))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _FIELDS.size)
        self._keys = file.with_suffix(".keys")

    def _read(self) -> tuple[int, ...]:
        return _FIELDS.unpack_from(self._map)

    @property
    def is_ready(self) -> bool:
        return self._read()[0] != 0

    @property
    def count(self) -> int:
        return self._read()[1]

    @property
    def begin(self) -> float:
        """When the consumer began to connect, in seconds of the wall clock."""
        return self._read()[2] / 1e9

    @property
    def last(self) -> float:
        """When the last events came."""
        return self._read()[3] / 1e9

    def times(self) -> dict[str, list[float]]:
        """When each key came, of a consumer that kept them and has ended."""
        times: dict[str, list[float]] = {}
        for line in self._keys.read_text().splitlines():
            key, nanoseconds = line.split()
            times.setdefault(key, []).append(int(nanoseconds) / 1e9)
        return times


class Tally:
    """What the consumer writes."""

    def __init__(self, file: Path, keep: bool):
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _FIELDS.size)
        self._file = file.with_suffix(".keys")
        self._kept: list | None = [] if keep else None
        self._lock = threading.Lock()
        self._ready, self._count, self._begin, self._last = 0, 0, time.time_ns(), 0

    def ready(self) -> None:
        """Whatever is committed from now on arrives at once."""
        self._ready = 1
        self._write()

    def add(self, count: int, content) -> None:
        """Events have come. Their bytes, which `content` returns, are looked at only in the end."""
        with self._lock:
            self._last = time.time_ns()
            if self._kept is not None:
                self._kept.append((self._last, content))
            self._count += count
            self._write()

    def _write(self) -> None:
        _FIELDS.pack_into(self._map, 0, self._ready, self._count, self._begin, self._last)

    def close(self) -> None:
        if self._kept is not None:
            with self._file.open("wb") as file:
                for now, content in self._kept:
                    file.writelines(b"%b %d\n" % (key, now) for key in _KEY.findall(content()))


def values(result, column: int) -> bytes:
    """A column of a PGresult."""
    return b"\n".join(result.get_value(row, column) for row in range(result.ntuples))


def rows_of(result, column: int):
    return partial(values, result, column)


def consume(work) -> None:
    """Runs a consumer, `work(tally, options)`, until SIGTERM."""
    options = json.loads(sys.argv[2])
    tally = Tally(Path(sys.argv[1]), options["keep"])

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    try:
        work(tally, options)
    finally:
        tally.close()
