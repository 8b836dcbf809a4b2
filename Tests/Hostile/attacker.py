"""One attack, in a process of its own: started by main.py with its orders as JSON, it tells in the end what it did and got.

It has the lowest priority, and is bounded where a network would bound it: what is measured is the work it makes for others.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import zmq
import zmq.auth

HOSTILE = "MALLORY"
BYTES_PER_SECOND = 100 << 20
"""About what a gigabit network carries."""


class Pace:
    """So much a second, and no more."""

    def __init__(self, per_second: float):
        self._per_second = per_second
        self._next = time.monotonic()

    def take(self, amount: float = 1) -> None:
        self._next = max(self._next, time.monotonic() - 0.1) + amount / self._per_second
        if (ahead := self._next - time.monotonic()) > 0.001:
            time.sleep(ahead)


class Attacker:
    """What every kind of attack has: where to, for how long, as whom; and what it counts."""

    def __init__(self, orders: dict):
        self.ports: dict[str, int] = orders["ports"]
        self.draw = random.Random(orders["seed"])
        self.who: str = orders["who"]
        """Empty without keys; else `mallory`, who has some rights, or `strangers`, who have none."""
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []
        """What must not be."""
        self._until: float = orders["until"]
        self._directory = Path(orders["directory"])
        self._pretences = 0

    @property
    def is_over(self) -> bool:
        return time.time() >= self._until

    def socket(self, kind: int, server: str, *, routing_id: bytes | None = None, receive_limit: int = 1000) -> zmq.Socket:
        """A connection with the credentials of whoever attacks."""
        while True:
            try:
                socket = zmq.Context.instance().socket(kind)
                break
            except zmq.ZMQError:
                # Those that were closed have yet to go.
                time.sleep(0.05)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 1000)
        socket.setsockopt(zmq.RCVHWM, receive_limit)
        if routing_id is not None:
            socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if self.who == "mallory":
            self._use_keys(socket, "server", "mallory")
        elif self.who == "strangers":
            self._pretend(socket)
        socket.connect(f"tcp://127.0.0.1:{self.ports[server]}")
        self.counts["sockets"] += 1
        return socket

    def _pretend(self, socket: zmq.Socket) -> None:
        """No keys; a password; a key nobody knows; a key that is known, and another server's; in turn."""
        self._pretences += 1
        match self._pretences % 4:
            case 0:
                pass
            case 1:
                socket.plain_username, socket.plain_password = b"good", b"secret"
            case 2:
                self._use_keys(socket, "server", "stranger")
            case 3:
                self._use_keys(socket, "impostor", "mallory")

    def _use_keys(self, socket: zmq.Socket, server: str, name: str) -> None:
        socket.curve_serverkey = zmq.auth.load_certificate(self._directory / f"{server}.key_secret")[0]
        socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(self._directory / f"{name}.key_secret")

    def send(self, socket: zmq.Socket, *frames: bytes) -> bool:
        """Sends, if there is room."""
        try:
            socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            self.counts["no room"] += 1
            return False
        except zmq.ZMQError as error:
            self.counts[str(error)] += 1
            return False
        self.counts["sent"] += 1
        return True

    def hear(self, socket: zmq.Socket, most: int = 1000) -> int:
        """Takes what has come, and looks at it."""
        for count in range(most):
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return count
            self.check(frames)
        return most

    def check(self, frames: list[bytes]) -> None:
        if self.who == "strangers":
            self.found.append(f"a stranger got {frames[-1][:200]!r}")
        if len(frames) == 2 and frames[0]:
            self.counts["events"] += 1
            if self.who and frames[0] != HOSTILE.encode():
                self.found.append(f"mallory got an event of type {frames[0][:50]!r} by the broadcast")
            return
        try:
            message = json.loads(frames[-1])
        except ValueError:
            self.found.append(f"not JSON: {frames[-1][:200]!r}")
            return
        self.counts[message["e"] if "e" in message else "results" if "r" in message else "groups"] += 1
        events = message["p"]["events"] if "f" in message else message.get("r")
        for event in events if isinstance(events, list) else []:
            if self.who and event["type"] != HOSTILE:
                self.found.append(f"mallory got an event of type {event['type']}")
        if message.get("r") is True and str(message.get("rid", "")).startswith("Ctheirs"):
            # Without keys nobody can tell who is who: whoever comes while the connection is away has the session.
            self.counts["sessions taken"] += 1
            if self.who:
                self.found.append("a session of another's consumer was given away")


def main() -> None:
    orders = json.loads(sys.argv[1])
    os.setsid()
    os.nice(19)
    # Whatever was recorded is to be read.
    sys.set_int_max_str_digits(0)
    try:
        # Where the system shares the processors among sessions first, this is what counts.
        Path("/proc/self/autogroup").write_text("19")
    except OSError:
        pass
    attacker = Attacker(orders)
    time.sleep(max(0, orders["at"] - time.time()))
    try:
        attacks.KINDS[orders["kind"]](attacker)
    except Exception:
        attacker.found.append(f"harness: {traceback.format_exc()[-800:]}")
    print(json.dumps({"counts": attacker.counts, "found": attacker.found[:20]}), flush=True)
    # Nothing that waits is of any interest.
    os._exit(0)


if __name__ == "__main__":
    import attacks

    main()
