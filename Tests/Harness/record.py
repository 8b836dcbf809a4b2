"""What a receiver got, in the order it got it."""

from __future__ import annotations

import time

from Harness.findings import Findings


class Record:
    """Of one receiver: every event it got, when, and when it told the pusher that it was processed."""

    def __init__(self, name: str, findings: Findings, want: set[str] | None = None):
        self.name, self.want = name, want
        self.first: dict[int, tuple[str, str, str]] = {}
        """Type, key and time of each event."""
        self.arrivals: list[tuple[float, int]] = []
        """When each event came for the first time."""
        self.answered: dict[int, float] = {}
        """When its receipt was told first; before it was sent."""
        self.duplicates = 0
        self.newest = 0
        self.sessions = 0
        self._findings = findings

    def arrived(self, events: list[dict]) -> None:
        now = time.time()
        for event in events:
            number = int(event["id"])
            data = event["data"]
            content = (event["type"], data.get("k", "") if isinstance(data, dict) else "", event["ts"])
            known = self.first.get(number)
            if known is not None:
                self.duplicates += 1
                if known != content:
                    self._findings.violation("changed", f"{self.name} got {number} as {known} and then as {content}")
                continue
            if number < self.newest:
                self._findings.violation("order", f"{self.name} got {number} for the first time after {self.newest}")
            self.first[number] = content
            self.arrivals.append((now, number))
            self.newest = max(self.newest, number)

    def answering(self, ids) -> None:
        """To be called before the answer is sent."""
        now = time.time()
        for number in ids:
            self.answered.setdefault(number, now)


class LiveRecord(Record):
    """Of a receiver that may lose events, but gets them in order, each once, within one connection."""

    def new_connection(self) -> None:
        self._last = 0
        self.sessions += 1

    def arrived(self, events: list[dict]) -> None:
        for event in events:
            number = int(event["id"])
            if number <= self._last:
                self._findings.violation("live order", f"{self.name} got {number} after {self._last} in one connection")
            self._last = number
            # Another connection may begin before what the last one has seen.
            self.newest = min(self.newest, number)
        super().arrived(events)
