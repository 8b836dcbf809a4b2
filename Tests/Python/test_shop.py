"""Each order is billed exactly once, whatever is killed; EVT_TEST_KILLS says how often."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from Harness.processes import Process, run
from Harness.waiting import eventually

SETTINGS = {"EVT_SESSION_TIMEOUT": "2s", "EVT_MAX_CHUNK_EVENTS": "10"}
KILLS = int(os.environ.get("EVT_TEST_KILLS", "8"))
SHOP = Path(__file__).parent / "shop.py"


@pytest.mark.parametrize("options", [{}, {"slices": 3, "at_most": 3}], ids=["one receiver", "slices"])
def test_each_order_is_billed_once_whatever_is_killed(stream, cluster, binaries, tmp_path, event_type, options):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    own = cluster.create_database()
    settings = {"EVT_DATABASE_URL": stream.database.conninfo, "EVT_INBOX_URL": own.conninfo,
                "PYTHONPATH": os.pathsep.join(sys.path)}
    run(binaries / "evt", "inbox", settings=settings)
    bills = psycopg.connect(own.conninfo, autocommit=True)
    bills.execute("CREATE TABLE bills (order_id bigint)")
    orders = psycopg.connect(stream.database.conninfo, autocommit=True)
    orders.execute("DROP TABLE IF EXISTS orders")
    orders.execute("CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int)")

    first = stream.start_pusher()
    second = stream.start_pusher()
    settings["EVT_PUSHER_CONNECT"] = f"{first.endpoint},{second.endpoint}"
    shop, *billing = (
        Process([sys.executable, SHOP, role, event_type, json.dumps(options)], {**settings, "PGAPPNAME": role}, tmp_path / f"{number}.log")
        for number, role in enumerate(("shop", "billing", "billing")))

    def count() -> int:
        return bills.execute("SELECT count(*) FROM bills").fetchone()[0]

    def goes_on() -> None:
        before = count()
        eventually(lambda: count() > before, "orders are billed", every=0.02)

    def backend(connection) -> None:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                           "AND pid <> pg_backend_pid() AND query NOT LIKE '%pg_stat_activity%'")

    try:
        for process in (shop, *billing):
            process.start()
        goes_on()
        for _ in range(KILLS):
            what = draw.choice((shop, *billing, first, second, bills))
            if what is bills:
                backend(bills)
            elif what in (first, second):
                what.process.kill()
                stream.processes.remove(what.process)
                what.process.start()
                stream.processes.append(what.process)
                what.process.expected_to_run = True
            else:
                what.kill()
                what.start()
            goes_on()
        shop.kill()
        # Its last commit may still be on its way.
        connections = "SELECT FROM pg_stat_activity WHERE application_name = 'shop'"
        eventually(lambda: not orders.execute(connections).fetchall(), "the shop is gone")
        wanted = Counter(row[0] for row in orders.execute("SELECT id FROM orders"))
        eventually(lambda: count() >= len(wanted), "all orders are billed")
        for each in billing:
            assert each.is_running(), each.log_tail()
        assert Counter(row[0] for row in bills.execute("SELECT order_id FROM bills")) == wanted
        print(f"{KILLS} kills; {len(wanted)} orders, each billed once")
    finally:
        for process in (shop, *billing):
            print(process.log_tail(15))
            process.kill()
        bills.close()
        orders.close()
        for server in (first, second):
            server.process.stop()
        own.drop()
