"""Keys for tests: who may connect is written with `evt keygen` and an authorized-keys file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth import load_certificate

from Harness.processes import run


@dataclass(frozen=True)
class Keys:
    """What a client needs: the server's public key, and its own pair."""

    server: bytes
    public: bytes
    secret: bytes

    def set_on(self, socket: zmq.Socket) -> None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self.server, self.public, self.secret


class NoKeys:
    """Those of a client that has none, although others do."""

    def set_on(self, socket: zmq.Socket) -> None:
        pass


class Keyring:
    """A server's certificate, and users with theirs."""

    def __init__(self, evt: Path, directory: Path):
        self._evt, self._directory = evt, directory
        self._directory.mkdir(exist_ok=True)
        self.authorized = directory / "authorized_keys"
        self.server_secret = self.make("server")
        self.server_public = load_certificate(self.server_secret)[0]

    def make(self, name: str) -> Path:
        """Makes a key pair, and returns where the secret certificate is."""
        run(self._evt, "keygen", name, "--directory", self._directory)
        return self._directory / f"{name}.key_secret"

    def keys(self, name: str, server: bytes | None = None) -> Keys:
        """A user's keys, made when they are first asked for."""
        secret = self._directory / f"{name}.key_secret"
        if not secret.exists():
            self.make(name)
        return Keys(server or self.server_public, *load_certificate(secret))

    def line(self, user: str, rights: str, key: str | None = None) -> str:
        """A user's line of the file; `key` names the pair, if it is not named like the user."""
        return f"{user}  {self.keys(key or user).public.decode()}  {rights}"

    def authorize(self, *lines: str) -> None:
        self.authorized.write_text("\n".join(["# who may connect", *lines, ""]))

    @property
    def settings(self) -> dict[str, str]:
        """Of a server."""
        return {"EVT_CURVE_KEY": str(self.server_secret), "EVT_AUTHORIZED_KEYS": str(self.authorized)}

    def client_settings(self, user: str) -> dict[str, str]:
        self.keys(user)
        return {"EVT_CURVE_KEY": str(self._directory / f"{user}.key_secret"), "EVT_SERVER_KEY": self.server_public.decode()}
