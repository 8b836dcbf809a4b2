"""Deletes rows of an outbox, 1000 in a transaction; looks every 10 ms while there are none."""

from Rivals.consumers.libpq import outbox_batches
from Rivals.tally import consume, rows_of


def work(tally, options) -> None:
    batches = outbox_batches(options["url"])
    tally.ready()
    for batch in batches:
        tally.add(batch.ntuples, rows_of(batch, 0))


if __name__ == "__main__":
    consume(work)
