"""Curves: how the cost of a request grows with what there is much of."""

import math
import statistics

from .picture import COLOURS, FAINT, MARGIN, TEXT, document, text
from ..proxies import SCOREGATE

PANEL, HEIGHT, LEFT, TOP = 400, 220, 50, 40


def curves(lines):
    """An SVG with a panel for each line that has sizes; nothing where none has."""
    lines = [line for line in lines if "growth" in line.details]
    if not lines:
        return ""
    out = []
    for nth, line in enumerate(lines):
        out += panel(line, MARGIN + nth % 2 * (PANEL + MARGIN), nth // 2 * (HEIGHT + 70))
    return document((len(lines) + 1) // 2 * (HEIGHT + 70), out, "CPU for a request as routes and caller keys grow")


def panel(line, left, top):
    growth = {int(size): values for size, values in line.details["growth"].items()}
    highest = max(max(values) for values in growth.values()) * 1.15
    longest = math.log10(max(growth)) or 1

    def x(size):
        return round(left + LEFT + (PANEL - LEFT - 20) * math.log10(size) / longest, 1)

    def y(value):
        return round(top + TOP + HEIGHT * (1 - value / highest), 1)

    out = [text(left + LEFT, top + 24, f"{line.work}: {line.unit}", size=12)]
    for part in (0, 0.25, 0.5, 0.75, 1):
        value = highest * part
        out.append(f'<line x1="{left + LEFT}" y1="{y(value)}" x2="{left + PANEL - 10}" y2="{y(value)}" stroke="#e4e4e7"/>')
        out.append(text(left + LEFT - 6, y(value), f"{value:.0f}", anchor="end", size=10, colour=FAINT))
    middle = [(x(size), y(statistics.median(values))) for size, values in growth.items()]
    out.append(f'<polyline points="{" ".join(f"{a},{b}" for a, b in middle)}" fill="none" stroke="{COLOURS[SCOREGATE]}" stroke-width="2"/>')
    for size, values in growth.items():
        # All rounds, and their median.
        out.append(f'<line x1="{x(size)}" y1="{y(min(values))}" x2="{x(size)}" y2="{y(max(values))}" stroke="{COLOURS[SCOREGATE]}"/>')
        out.append(f'<circle cx="{x(size)}" cy="{y(statistics.median(values))}" r="3.5" fill="{COLOURS[SCOREGATE]}"/>')
        out.append(f'<text x="{x(size)}" y="{top + TOP + HEIGHT + 18}" font-size="10" text-anchor="middle" fill="{TEXT}">{size:,}</text>')
    return out
