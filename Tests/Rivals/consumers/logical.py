"""Counts the messages that pg_recvlogical writes into a pipe, one a line."""

import os
import subprocess
from functools import partial

from Rivals.tally import consume

MESSAGE = b'"action":"M"'


def work(tally, options) -> None:
    source = subprocess.Popen(options["command"], stdout=subprocess.PIPE)
    pipe, rest = source.stdout.fileno(), b""
    tally.ready()
    try:
        while piece := os.read(pipe, 1 << 20):
            whole, _, rest = (rest + piece).rpartition(b"\n")
            if count := whole.count(MESSAGE):
                tally.add(count, partial(bytes, whole))
        raise RuntimeError("pg_recvlogical ended")
    finally:
        source.terminate()
        source.wait()


if __name__ == "__main__":
    consume(work)
