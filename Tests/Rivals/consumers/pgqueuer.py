"""The library itself, as its documentation has it, with a larger batch than its default of 10."""

import asyncio
import signal
from functools import partial

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

from Rivals.tally import consume

LISTENING = 1.5
"""Seconds after which it surely listens; it does not say."""


async def serve(tally, url: str) -> None:
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

    @queue.entrypoint("ev")
    async def process(job) -> None:
        tally.add(1, partial(bytes, job.payload))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, queue.shutdown.set)
    loop.call_later(LISTENING, tally.ready)
    await queue.run(batch_size=100)


def work(tally, options) -> None:
    uvloop.run(serve(tally, options["url"]))


if __name__ == "__main__":
    consume(work)
