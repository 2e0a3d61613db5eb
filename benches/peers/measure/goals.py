"""What every row is held to. The figures are the project's: scoregate with everything on, over the best peer merely setting a header."""

from dataclasses import dataclass
from enum import Enum

KIB = 1024
MIB = 1024 * KIB


class Bound(Enum):
    """What a goal bounds."""

    RATIO = "ratio"
    ABSOLUTE = "absolute"


class Kind(Enum):
    """Whether a miss fails the run: what is counted is the same on a busy machine, what is timed is not."""

    COUNTED = "counted"
    TIMED = "timed"


@dataclass(frozen=True)
class Goal:
    """`goal` is where the row shall get to; past `floor` a change does not go in."""

    goal: float
    floor: float
    bound: Bound
    kind: Kind


def ratio(goal, floor, kind=Kind.TIMED):
    return Goal(goal, floor, Bound.RATIO, kind)


def absolute(goal, floor, kind=Kind.TIMED):
    return Goal(goal, floor, Bound.ABSOLUTE, kind)


# 64 connections × 64 KiB and 20 MiB beside them; held for a replay, what `replay_total` allows as well.
IN_FLIGHT = 64 * 64 * KIB + 20 * MIB
REPLAY_TOTAL = 64 * MIB

GOALS = {
    "h1": ratio(0.90, 1.00),
    "instructions": ratio(0.87, 0.99, Kind.COUNTED),
    "syscalls": absolute(4.0, 4.1, Kind.COUNTED),
    "h2-tls": ratio(0.75, 0.90),
    "h1-tls": ratio(0.80, 0.90),
    "handshake": ratio(0.70, 0.85),
    "upload": ratio(0.45, 0.60),
    "download": ratio(0.75, 0.90),
    "idle-plain": absolute(2.5 * KIB, 4 * KIB, Kind.COUNTED),
    "idle-tls": absolute(12 * KIB, 20 * KIB, Kind.COUNTED),
    # One figure is given for each of these: goal and floor in one.
    "in-flight-upload": absolute(IN_FLIGHT, IN_FLIGHT, Kind.COUNTED),
    "in-flight-download": absolute(IN_FLIGHT, IN_FLIGHT, Kind.COUNTED),
    "in-flight-replay": absolute(IN_FLIGHT + REPLAY_TOTAL, IN_FLIGHT + REPLAY_TOTAL, Kind.COUNTED),
    "workers": ratio(1.05, 1.10),
    # "No futex call per request", with room for those of the sweep and of connections that come and go.
    "workers-futex": absolute(0.01, 0.05, Kind.COUNTED),
    "keys": ratio(1.05, 1.10),
    "routes": ratio(1.05, 1.10),
    "changes-p99": ratio(1.10, 1.25),
    "start": absolute(50, 100),
    # "Flat" over ten minutes: what a page here and there comes to.
    "flat": absolute(1 * MIB, 4 * MIB),
}
