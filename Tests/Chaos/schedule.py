"""What goes wrong when: a pure function of the seed and the length of the run.

Faults are drawn on tracks. On one track one follows the other; faults of different tracks overlap as they like.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PROCESSES = ["generator_a", "generator_b", "pusher_a", "pusher_b", "archiver_a", "archiver_b", "discarder", "tail"]
CLIENTS = ["reliable", "tail", "poller", "liar", "live", "subscriber", "archiver_a", "archiver_b", "caller_1", "caller_2"]
CONSUMERS = ["RELIABLE", "TAIL", "POLLER", "LIAR", "ARCHIVER", "OPERATED"]

TABLES = ["evt_queue", "evt_consumers", "evt_queue_state", "evt_queue_pushers", "evt_queue_1", "evt_queue_2"]

CALM = 2.0
"""Seconds before the first fault."""


@dataclass(frozen=True)
class Fault:
    track: str
    at: float
    kind: str
    seconds: float = 0.0
    victims: tuple[str, ...] = ()
    detail: str = ""

    def __str__(self) -> str:
        parts = [self.kind, ", ".join(self.victims), self.detail, f"for {self.seconds:.2f} s" if self.seconds else ""]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Track:
    """Faults one after another, with calm in between."""

    name: str
    pause: float
    """Seconds of calm, on average."""
    weights: dict[str, int] = field(hash=False)


_PROCESS = {"kill": 6, "freeze": 3, "stop": 3, "rolling": 2}
_NETWORK = {"reset": 3, "refuse": 2, "blackhole": 4, "stall": 3, "delay": 2}
TRACKS = [
    Track("process", 2.0, _PROCESS), Track("another process", 3.0, _PROCESS),
    Track("database", 2.5, {"active": 3, "standby": 1, "terminate": 3, "settings": 3, "failover": 3}),
    Track("warehouse", 4.0, {"warehouse": 4, "outage": 1, "history_lock": 3, "warehouse_settings": 2}),
    Track("network", 1.5, _NETWORK), Track("another network", 3.0, _NETWORK),
    Track("lock", 3.0, {"row_lock": 1}),
    Track("neighbour", 6.0, {"table_lock": 2, "policy": 1}), Track("log", 5.0, {"log_stall": 1}),
]

LOST_HOST = "lost_host"
"""In the end the primary's machine may be gone for good, silently; the standby is all there is."""

KINDS = [*dict.fromkeys(kind for track in TRACKS for kind in track.weights), LOST_HOST]

_AT_MOST = {"failover": 2, "outage": 1}
"""Of these so many a run: each takes long."""

_SETTINGS = [
    ("statement_timeout", ("2ms", "20ms", "100ms")), ("lock_timeout", ("1ms", "20ms")),
    ("idle_in_transaction_session_timeout", ("1ms", "20ms")), ("default_transaction_isolation", ("serializable",)),
    ("default_transaction_read_only", ("on",)), ("synchronous_commit", ("off", "local")),
]


def draw(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run, in order. None begins or, as far as it has a length, ends after `seconds`."""
    faults = []
    for track in TRACKS:
        draw = random.Random(f"{seed}/{track.name}")
        faults += _draw_track(track, draw, seconds)
        if track.name == "database" and draw.random() < 0.5:
            # With one server left, nothing more may happen to it.
            end = round(seconds * draw.uniform(0.6, 0.9), 2)
            faults = [fault for fault in faults if fault.track != track.name or fault.at + fault.seconds + 2 < end]
            faults.append(Fault(track.name, end, LOST_HOST))
    return sorted(faults, key=lambda fault: fault.at)


def _draw_track(track: Track, draw: random.Random, seconds: float) -> list[Fault]:
    faults: list[Fault] = []
    now = CALM + draw.uniform(0, track.pause)
    misses = 0
    while misses < 10:
        kind = draw.choices(list(track.weights), list(track.weights.values()))[0]
        fault = Fault(track.name, round(now, 2), kind, *_draw_details(kind, draw, seconds))
        if fault.at + fault.seconds > seconds or sum(other.kind == kind for other in faults) >= _AT_MOST.get(kind, 1000):
            misses += 1
            continue
        faults.append(fault)
        now += fault.seconds + draw.expovariate(1 / track.pause)
    return faults


def _draw_details(kind: str, draw: random.Random, run: float) -> tuple:
    """How long, whom, and in what way."""
    def length(shortest: float, longest: float) -> float:
        return round(draw.uniform(shortest, longest), 2)

    match kind:
        case "kill":
            return (0, _some(draw, PROCESSES, draw.choice([1, 1, 1, 2, 3, 8])))
        case "freeze":
            # Longer than sessions, acknowledgements and beats live.
            return (length(2.5, 5), _some(draw, PROCESSES, draw.choice([1, 1, 2])))
        case "stop":
            return (0, _some(draw, PROCESSES, 1))
        case "rolling":
            return (0, ("pusher_a", "pusher_b"))
        case "active" | "standby" | "warehouse":
            return (length(0, 2),)
        case "outage":
            return (round(run * draw.uniform(0.2, 0.4), 2),)
        case "terminate":
            return (0, (), draw.choice(["%", "evt-pusher%", "evt-generator", "evt-discarder", "writer%"]))
        case "settings":
            name, values = draw.choice(_SETTINGS)
            return (length(1, 4), (), f"{name} = '{draw.choice(values)}'")
        case "warehouse_settings":
            name, values = draw.choice(_SETTINGS)
            return (length(1, 4), (), f"{name} = '{draw.choice(values)}'")
        case "failover":
            # The old primary's address answers no more at all, or refuses.
            return (draw.choice([0.0, length(3, 6)]),)
        case "history_lock":
            return (length(1, 5), (), draw.choice(["SHARE", "ACCESS EXCLUSIVE"]))
        case "table_lock":
            return (1.0, (draw.choice(TABLES),))
        case "policy":
            return (1.0, (draw.choice(["evt_queue", "evt_consumers", "evt_queue_state"]),))
        case "log_stall":
            return (length(1, 5), _some(draw, PROCESSES[:-1], draw.choice([1, 2])))
        case "row_lock":
            return (length(1, 4), _some(draw, CONSUMERS, draw.choice([1, 2, 5])))
        case "reset":
            return (0, _links(draw))
        case "delay":
            return (length(1, 4), _links(draw))
        case "refuse" | "blackhole" | "stall":
            return (length(1, 6), _links(draw))
    raise ValueError(kind)


def _some(draw: random.Random, names: list[str], count: int) -> tuple[str, ...]:
    return tuple(sorted(draw.sample(names, count)))


def _links(draw: random.Random) -> tuple[str, ...]:
    """Which links: `client>server`, where `*` stands for all."""
    match draw.randrange(6):
        case 0:  # a client loses all its servers
            return (f"{draw.choice(CLIENTS)}>*",)
        case 1:  # a server loses all its clients
            return (f"*>{draw.choice(['pusher_a', 'pusher_b', 'generator_a', 'generator_b'])}",)
        case 2:  # a process loses its database
            process = draw.choice(PROCESSES[:-1])
            return (f"{process}>active_*", f"{process}>warehouse")
        case 3:  # all processes lose a database
            return (draw.choice(["*>active_*", "*>warehouse"]),)
        case 4:  # both, one after the other in effect: the receivers of one pusher and its database
            pusher = draw.choice(["pusher_a", "pusher_b"])
            return (f"*>{pusher}", f"{pusher}>active_*")
        case _:  # some clients lose one pusher
            pusher = draw.choice(["pusher_a", "pusher_b"])
            return tuple(f"{client}>{pusher}" for client in _some(draw, CLIENTS[:8], 3))
