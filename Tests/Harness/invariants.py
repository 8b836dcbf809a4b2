"""What must hold in the end, whatever went wrong meanwhile: section by section what README.md promises."""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass
from functools import cached_property

from Harness.findings import Findings
from Harness.record import Record
from Harness.scene import Scene


@dataclass(frozen=True)
class Truth:
    """A committed event."""

    id: int
    type: str
    data: str
    ts: str
    recorded: float

    @property
    def content(self) -> tuple[str, str, str]:
        """As receivers note it."""
        return (self.type, self.key, self.ts[:19].replace(" ", "T") + "Z")

    @property
    def key(self) -> str:
        return json.loads(self.data)["k"]


def load_truth(scene: Scene) -> dict[int, Truth]:
    rows = scene.query("SELECT id, type, data::text, ts::text, extract(epoch FROM ts)::float8 FROM truth ORDER BY id")
    return {row[0]: Truth(*row) for row in rows}


class Invariants:
    """Checks one after another; each finding is a violation."""

    def __init__(self, scene: Scene, truth: dict[int, Truth], findings: Findings):
        self._scene, self._truth, self._findings = scene, truth, findings

    @cached_property
    def _keys(self) -> dict[str, Truth]:
        return {event.key: event for event in self._truth.values()}

    def _list(self, kind: str, what: str, found: list) -> None:
        if found:
            self._findings.violation(kind, f"{what}: {len(found)}: {found[:5]}")

    def delivered(self, record: Record) -> None:
        """Every event it wants has come."""
        self._list("lost", f"{record.name} never got", [
            event.id for event in self._truth.values()
            if (record.want is None or event.type in record.want) and event.id not in record.first])

    def only_committed(self, record: Record) -> None:
        """Nothing else has come, and nothing has come changed."""
        self._list("phantom", f"{record.name} got what was never committed", [
            (number, content) for number, content in record.first.items() if number not in self._truth])
        self._list("changed", f"{record.name} got it otherwise than it was recorded", [
            (number, content, self._truth[number].content) for number, content in record.first.items()
            if number in self._truth and self._truth[number].content != content])
        if record.want is not None:
            self._list("unwanted", f"{record.name} did not want", [
                number for number, content in record.first.items() if content[0] not in record.want])

    def positions(self, records: list[Record], but: tuple[str, ...] = ()) -> None:
        """They move forward only, and never past what was not processed; but for those that somebody else moves."""
        moves: dict[str, list[tuple[int, float]]] = {}
        for ident, before, after, at in self._scene.query(
                "SELECT ident, before, after, extract(epoch FROM at)::float8 FROM moves ORDER BY after, at"):
            name = ident.split(":")[1]
            if name in but:
                continue
            moves.setdefault(name, []).append((after, at))
            if after < before:
                self._findings.violation("position", f"{ident} moved back from {before} to {after}")
        for record in records:
            steps = moves.get(record.name, [])
            ends = [step[0] for step in steps]
            early = []
            for event in self._truth.values():
                if record.want is not None and event.type not in record.want:
                    continue
                index = bisect.bisect_left(ends, event.id)
                if index == len(ends):
                    early.append((event.id, "never confirmed"))
                elif record.answered.get(event.id, float("inf")) > steps[index][1]:
                    early.append((event.id, f"confirmed at {steps[index][1]:.3f}, processed {record.answered.get(event.id)}"))
            self._list("confirmed", f"{record.name} has not processed what its position says", early)

    def discards(self) -> None:
        """Only what every consumer had confirmed is gone."""
        self._list("discarded", "events went before all had confirmed them", self._scene.query(
            "SELECT id, confirmed, emptied FROM discards WHERE confirmed IS NULL OR id > confirmed"))

    def calls(self, callers: list) -> None:
        """An answer with an id is the truth, one with an error too."""
        for caller in callers:
            self._list("answered", f"{caller.name} was answered ids of events that are not there", [
                (key, number) for key, number in caller.answered.items()
                if key not in self._keys or self._keys[key].id != number])
            self._list("refused", f"{caller.name} was told that these were not recorded", [
                (self._keys[key].id, reason) for key, reason in caller.refused.items() if key in self._keys])

    def writers(self, writers: list) -> None:
        if len(self._keys) != len(self._truth):
            self._findings.violation("twice", f"{len(self._truth) - len(self._keys)} events were recorded twice")
        for writer in writers:
            # A failure of the run itself, if ever.
            self._list("rolled back", f"{writer.name} had rolled back", [key for key in writer.rolled_back if key in self._keys])

    def archive(self) -> None:
        """The archive is the stream, event for event."""
        verified = self._scene.evt("archive", "verify", check=False)
        if verified.strip() != f"{len(self._truth)} events verified, 0 findings":
            self._findings.violation("verify", verified[-1000:])
        history = self._scene.query_warehouse("SELECT id, type, data::text, ts::text FROM evt_history ORDER BY id, ts")
        truth = [(event.id, event.type, event.data, event.ts) for event in self._truth.values()]
        if history != truth:
            self._list("archive", "rows that only the history has, or has otherwise", sorted(set(history) - set(truth)))
            self._list("archive", "rows that the history lacks, or has otherwise", sorted(set(truth) - set(history)))
            if len(history) != len(set(history)):
                self._findings.violation("archive", "the history has events twice")
        # After a fail-over the archive is compared with the active database, from the position that has.
        self._list("position", "the archive's position moved back", self._scene.query_warehouse(
            "SELECT before, after FROM moves WHERE after < before AND is_new_generation IS NOT TRUE"))
        self._list("set aside", "the archive took events for lost", self._scene.query_warehouse(
            "SELECT id, type FROM evt_history_lost"))

    def generations(self, fail_overs: int) -> None:
        """Nothing else makes the stream look as if its database had gone back."""
        reasons = [reason for reason, in self._scene.query("SELECT reason FROM generations")]
        if len(reasons) > fail_overs:
            self._findings.violation("generation", f"{len(reasons)} generations after {fail_overs} fail-overs: {reasons}")
