"""A balance that is kept with the inbox equals the ledger, whatever is killed; EVT_TEST_KILLS says how often."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bank import Bank

KILLS = int(os.environ.get("EVT_TEST_KILLS", "12"))


@pytest.fixture
def bank(binaries):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    bank = Bank(binaries, Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip()), random.Random(seed))
    try:
        bank.start()
        yield bank
    finally:
        print(bank.log_tails())
        bank.stop()


def test_balances_equal_the_ledger_after_kills_and_a_fail_over_that_loses_events(bank):
    for _ in range(KILLS // 2):
        bank.hit()
    bank.fail_over(lost=100)
    for _ in range(KILLS - KILLS // 2):
        bank.hit()
    bank.finish()

    ledger, entries = bank.ledger(), Counter(bank.look("SELECT id, account, amount FROM entries"))
    named = Counter(bank.look(
        "SELECT e.id, e.account, e.amount FROM entries e JOIN evt_inbox_lost('BILLING') l ON (l.id, l.processed) = (e.id, e.processed)"))
    counted = entries - named
    assert not sorted((counted - ledger).items())[:10], "counted twice, or of an event that there is not"
    assert not sorted((ledger - counted).items())[:10], "not counted"
    balances, sums = bank.look("SELECT * FROM balances ORDER BY 1"), Counter()
    for (_, account, amount), count in (ledger + named).items():
        sums[account] += amount * count
    assert balances == sorted(sums.items())

    again = bank.look(
        "SELECT count(*) FROM evt_inbox_events e JOIN evt_inbox i ON e.inbox = i.number AND e.id > i.common "
        f"WHERE NOT e.doubted AND e.processed < '{bank.failed_at}'")[0][0]
    assert len(named) >= 100
    print(f"{dict(bank.hits)}; {len(ledger)} payments; {len(named)} processed ones were lost and named; {again} came again")
