"""Where a client connects, and as whom."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import zmq
from zmq.auth import load_certificate

_ENDPOINT = re.compile(r"tcp://.+:[1-9][0-9]{0,4}|(ipc|inproc)://.+")
_KEY = re.compile(r"[!-~]{40}")

Endpoints = Union[str, Sequence[str], None]
PathLike = Union[str, "os.PathLike[str]", None]


@dataclass(frozen=True)
class Keys:
    """What a client proves to be, and whom it talks to (CURVE)."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Destination:
    """Endpoints of one kind of server, and the keys for them."""

    endpoints: tuple[str, ...]
    keys: Keys | None = None

    def set_on(self, socket: zmq.Socket[Any]) -> None:
        """For a socket that is to connect there."""
        # Milliseconds: a connection that the network has lost without a word is noticed.
        socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = 3000, 10_000, 15_000
        socket.linger = 200
        socket.ipv6 = True
        if self.keys:
            socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self.keys.server, self.keys.public, self.keys.secret


def destination(
    endpoints: Endpoints, curve_key: PathLike, server_key: PathLike, setting: str, standard: str
) -> Destination:
    """What the application says goes first; without endpoints the environment counts, keys included; then the standard endpoint."""
    environment: dict[str, str] = {}
    if endpoints is None:
        endpoints, environment = os.environ.get(setting, "") or standard, dict(os.environ)
    if isinstance(endpoints, str):
        endpoints = [each.strip() for each in endpoints.split(",") if each.strip()]
    for endpoint in endpoints:
        if not _ENDPOINT.fullmatch(endpoint):
            raise ValueError(f"{endpoint[:100]!r} is no endpoint; one is like tcp://127.0.0.1:5571, or ipc:///run/evt/push")
    if not endpoints:
        raise ValueError("at least one endpoint is needed")
    own = curve_key or environment.get("EVT_CURVE_KEY") or None
    server = server_key or environment.get("EVT_SERVER_KEY") or None
    return Destination(tuple(endpoints), _keys(own, server))


def _keys(own: PathLike, server: PathLike) -> Keys | None:
    if own is None and server is None:
        return None
    if own is None or server is None:
        raise ValueError("a client with keys needs both: its own (curve_key, EVT_CURVE_KEY) and the server's (server_key, EVT_SERVER_KEY)")
    public, secret = _certificate(own)
    if secret is None:
        raise ValueError(f"{own} has no secret key")
    if stat.S_IMODE(Path(own).stat().st_mode) & 0o007:
        raise ValueError(f"{own} is open to everyone: chmod 600 it, and make a new key if others could read it")
    text = str(server)
    if _KEY.fullmatch(text) and not Path(text).exists():
        return Keys(text.encode(), public, secret)
    return Keys(_certificate(server)[0], public, secret)


def _certificate(path: PathLike) -> tuple[bytes, bytes | None]:
    try:
        return load_certificate(str(path))
    except OSError as error:
        raise ValueError(f"the key file {path} cannot be read: {error.strerror}") from None
