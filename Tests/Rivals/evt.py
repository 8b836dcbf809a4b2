"""EventStream: evt_add, a pusher and a discarder of the release build, a receiver by the protocol."""

from __future__ import annotations

from Harness.pipeline import Pipeline, wait_until_served
from Harness.sockets import free_endpoint
from Rivals.rival import Rival


class Evt(Rival):
    name = "evt"
    what = "`evt_add`, 100 by `INSERT … SELECT`; evt-pusher and evt-discarder with defaults; pyzmq receiver that counts ids in the bytes"
    guarantees = "at least once; one order of ids for all; fan-out; kept until all consumers have confirmed, then archived if wanted"
    keeps_order = is_reliable = True
    consumer_program = "evt"

    def prepare(self) -> None:
        self.endpoint = free_endpoint()
        self._pipeline = Pipeline(self.site.programs, self.site.directory, {
            "EVT_DATABASE_URL": self.site.url, "EVT_PUSHER_BIND": self.endpoint, "EVT_LIVE_BIND": free_endpoint()})
        self._pipeline.evt("migrate")
        # As a pusher leaves it: where there has never been one, each INSERT looks at three tables more.
        self.site.run("SELECT setval('evt_queue_id_seq', 1), setval('evt_queue_settled', 1)")
        for component in self.components:
            self._pipeline.evt("consumers", "register", component)

    def one(self, data: str) -> str:
        return f"SELECT evt_add('ORDER', {data}::json)"

    def many(self, data: str, source: str) -> str:
        return f"INSERT INTO evt_queue (type, data) SELECT 'ORDER', {data}::json FROM {source}"

    def start_servers(self) -> None:
        pusher, discarder = (self._pipeline.process(f"evt-{role}", f"{role}.log").start() for role in ("pusher", "discarder"))
        self.servers += [pusher, discarder]
        wait_until_served(pusher, self.endpoint)

    def options(self) -> dict:
        return {"endpoint": self.endpoint, "components": self.components}
