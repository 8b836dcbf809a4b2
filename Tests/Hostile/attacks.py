"""The kinds of attacks by name."""

from __future__ import annotations

import calls
import connections

KINDS = {
    attack.__name__: attack for attack in (
        calls.mutated, calls.noise, calls.big, calls.answers, calls.stuck, calls.polls, calls.registrations, calls.pings,
        calls.unread, calls.adds,
        connections.garbage, connections.resets, connections.slowloris, connections.identities, connections.namesakes,
        connections.hijack, connections.subscriptions, connections.deaf, connections.crowd, connections.storm)
}

OF_STRANGERS = ["pings", "garbage", "resets", "slowloris", "identities", "subscriptions", "big", "storm"]
"""With keys no stranger gets further than the handshake; what it would send then makes no difference."""
