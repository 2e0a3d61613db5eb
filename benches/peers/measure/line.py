"""A line of the table: figures of each round, what they are compared with, and what is to be said of that."""

import statistics
from dataclasses import dataclass, field
from enum import Enum

from .goals import Bound, Goal
from .proxies import PEERS, SCOREGATE


class Verdict(Enum):
    """From best to worst; the words of the table."""

    GOAL = "goal"
    FLOOR = "floor held"
    SHORT = "short of its floor"
    MISSING = "not possible yet"
    NONE = "–"


@dataclass
class Line:
    """Figures by column, one for each round. Smaller is better in all of them."""

    key: str
    work: str
    unit: str
    figures: dict
    # Instead of the best peer: what scoregate is compared with, by its words.
    baseline: tuple = None
    goal: Goal = None
    note: str = ""
    # Why what the goal speaks of could not be measured.
    missing: str = ""
    # More that was seen, for whoever reads the JSON.
    details: dict = field(default_factory=dict)

    def median(self, column):
        return statistics.median(self.figures[column])

    def best_peer(self):
        """The peer with the lowest median; None where there is none."""
        there = [peer for peer in PEERS if peer in self.figures]
        return min(there, key=self.median, default=None)

    def compared_with(self):
        """Name and figures."""
        if self.baseline:
            return self.baseline
        best = self.best_peer()
        return (best, self.figures[best]) if best else None

    def ratios(self):
        """Ours over what it is compared with, round by round: what disturbed one disturbed the other."""
        base = self.compared_with()
        if base is None or SCOREGATE not in self.figures:
            return []
        return [ours / other for ours, other in zip(self.figures[SCOREGATE], base[1]) if other]

    def judged(self):
        """The figure that the goal speaks of; None where there is none."""
        if self.goal is None or SCOREGATE not in self.figures:
            return None
        if self.goal.bound is Bound.ABSOLUTE:
            return self.median(SCOREGATE)
        ratios = self.ratios()
        return statistics.median(ratios) if ratios else None

    def verdict(self):
        if self.missing:
            return Verdict.MISSING
        judged = self.judged()
        if judged is None:
            return Verdict.NONE
        if judged <= self.goal.goal:
            return Verdict.GOAL
        return Verdict.FLOOR if judged <= self.goal.floor else Verdict.SHORT
