"""Keys for tests: who may connect is written with `evt keygen` and an authorized-keys file."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth import load_certificate


@dataclass(frozen=True)
class Keys:
    """What a client needs: the server's public key, and its own pair."""

    server: bytes
    public: bytes
    secret: bytes

    def set_on(self, socket: zmq.Socket) -> None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self.server, self.public, self.secret


class Keyring:
    """A server's certificate, and users with theirs."""

    def __init__(self, evt: Path, directory: Path):
        self._evt, self._directory = evt, directory
        self._directory.mkdir(exist_ok=True)
        self.authorized = directory / "authorized_keys"
        self.server_secret = self.make("server")
        self.server_public = load_certificate(self._public("server"))[0]

    def _public(self, name: str) -> str:
        return str(self._directory / f"{name}.key")

    def make(self, name: str) -> Path:
        """Makes a key pair, and returns where the secret certificate is."""
        done = subprocess.run([self._evt, "keygen", name, "--directory", self._directory], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, f"evt keygen failed\n{done.stdout.decode(errors='replace')}"
        return self._directory / f"{name}.key_secret"

    def keys(self, name: str, server: bytes | None = None) -> Keys:
        """A user's keys, made when they are first asked for."""
        secret = self._directory / f"{name}.key_secret"
        if not secret.exists():
            self.make(name)
        return Keys(server or self.server_public, *load_certificate(str(secret)))

    def line(self, user: str, rights: str, key: str | None = None) -> str:
        """A user's line of the file; `key` names the pair, if it is not named like the user."""
        return f"{user}  {self.keys(key or user).public.decode()}  {rights}"

    def authorize(self, *lines: str) -> None:
        self.authorized.write_text("\n".join(["# who may connect", *lines, ""]))

    @property
    def settings(self) -> dict[str, str]:
        return {"EVT_CURVE_KEY": str(self.server_secret), "EVT_AUTHORIZED_KEYS": str(self.authorized)}
