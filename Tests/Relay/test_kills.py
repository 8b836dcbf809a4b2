"""Whatever is killed, and however the endpoint misbehaves: it gets every event, in the order of its key. EVT_TEST_KILLS says how often."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from Harness.processes import Process
from Harness.waiting import eventually
from conftest import SECRET, Relay

KILLS = int(os.environ.get("EVT_TEST_KILLS", "10"))
SETTINGS = {"EVT_MAX_ATTEMPTS": "2", "EVT_PARK": "event", "EVT_SESSION_TIMEOUT": "2s", "EVT_ACK_TIMEOUT": "2s"}


def test_every_event_arrives_in_the_order_of_its_key_whatever_is_killed(stream, tmp_path, free_port):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    file = tmp_path / "taken"
    file.touch()
    endpoint = Process([sys.executable, Path(__file__).parent / "endpoint.py", str(free_port), file, SECRET, "0.02"], {},
                       tmp_path / "endpoint.log")
    relay = Relay(stream, f"http://127.0.0.1:{free_port}/", EVT_RELAY_TIMEOUT="2s", EVT_SESSION_TIMEOUT="2s")
    endpoint.start()
    relay.start()
    recorded: list[tuple[int, str | None]] = []
    poison: list[int] = []

    def record() -> None:
        keys = [draw.choice([None, *"abcdefghij"]) for _ in range(20)]
        bad = draw.randrange(20) if draw.random() < 0.05 else None
        ids = relay.record(*keys, poison=bad)
        recorded.extend(zip(ids, keys))
        if bad is not None:
            poison.append(ids[bad])

    def taken() -> list[list]:
        return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    hits = []
    try:
        for _ in range(KILLS):
            before = len(taken())
            for _ in range(5):
                record()
            eventually(lambda: len(taken()) > before + 10, "events are taken", every=0.01)
            time.sleep(draw.uniform(0, 0.2))
            hit = draw.choice((endpoint, endpoint, relay.process))
            assert hit.is_running(), hit.log_tail()
            hits.append(hit.name)
            hit.kill()
            hit.start()
        relay.record(None)
        relay.confirmed(recorded[-1][0])
        events = taken()
    finally:
        relay.process.expected_to_run = True
        print(endpoint.log_tail())
        endpoint.kill()
    relay.stop()

    wanted = [event for event, _ in recorded if event not in poison]
    got = [event for event, _, _ in events]
    assert sorted(set(wanted) - set(got)) == [], "lost"
    assert set(poison).isdisjoint(got)
    for key in {key for _, key in recorded}:
        first = list(dict.fromkeys(event for event, each, _ in events if each == key and event in set(wanted)))
        assert first == [event for event, each in recorded if each == key and event not in poison], key
    parked = [int(each) for each in stream.database.values("SELECT id FROM evt_parked ORDER BY id")]
    assert parked == sorted(poison)
    print(f"{len(wanted)} events; {len(got) - len(set(got))} came again; {len(poison)} parked; {hits}")
