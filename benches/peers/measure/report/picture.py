"""Bars: each row's proxies, as multiples of the best peer."""

from html import escape

from ..goals import Bound
from ..proxies import COLUMNS, ENVOY, HAPROXY, NGINX, NULL, SCOREGATE
from . import units

COLOURS = {SCOREGATE: "#c2410c", NULL: "#d4d4d8", NGINX: "#3f8f5f", HAPROXY: "#3b6fb6", ENVOY: "#8b5fbf"}
WIDTH, LABELS, MARGIN = 860, 300, 16
BAR, GAP, BETWEEN, HEAD = 11, 2, 14, 62
# Where the axis ends, in multiples of the best peer: beyond it a bar is cut off and says how long it is.
LONGEST = 2.5
TEXT, FAINT = "#27272a", "#71717a"


def bars(lines):
    """An SVG; nothing where no line has a peer."""
    lines = [line for line in lines if SCOREGATE in line.figures and line.best_peer() and line.baseline is None]
    if not lines:
        return ""
    names = [name for name in COLUMNS if any(name in line.figures for line in lines)]
    out, top = legend(names), HEAD
    for line in lines:
        drawn, top = row(line, top)
        out += drawn
    height = top + MARGIN
    axis = x(1)
    out.insert(0, f'<line x1="{axis}" y1="{HEAD - 8}" x2="{axis}" y2="{top - BETWEEN}" stroke="{FAINT}" stroke-dasharray="2 3"/>')
    return document(height, out, "scoregate and its peers: cost as a multiple of the best peer's, shorter is better")


def x(multiple):
    """Where a multiple of the best peer is on the axis."""
    return round(LABELS + (WIDTH - LABELS - 110) * min(multiple, LONGEST) / LONGEST, 1)


def row(line, top):
    best = line.median(line.best_peer())
    names = [name for name in COLUMNS if name in line.figures]
    height = len(names) * (BAR + GAP)
    out = [text(LABELS - 10, top + height / 2 - 2, piece, anchor="end", size=11, down=nth * 13 - 6 * (len(pieces) - 1))
           for pieces in [wrapped(label(line))] for nth, piece in enumerate(pieces)]
    for nth, name in enumerate(names):
        value = line.median(name)
        multiple = value / best if best else 0
        y = top + nth * (BAR + GAP)
        end = x(max(multiple, 0))
        out.append(f'<rect x="{LABELS}" y="{y}" width="{max(end - LABELS, 1)}" height="{BAR}" fill="{COLOURS[name]}"/>')
        said = units.shown(value, line.unit) + (f"  ({multiple:.1f}×)" if multiple > LONGEST else "")
        out.append(text(end + 5, y + BAR - 2, said, size=10, colour=TEXT if name == SCOREGATE else FAINT))
    if line.goal and line.goal.bound is Bound.RATIO:
        at = x(line.goal.goal)
        out.append(f'<line x1="{at}" y1="{top - 3}" x2="{at}" y2="{top + BAR + 3}" stroke="{TEXT}" stroke-width="1.5"/>')
    return out, top + max(height, 13 * len(wrapped(label(line)))) + BETWEEN


def label(line):
    unit = units.unit_of(line.unit)
    return f"{line.work}, {unit}" if unit else line.work


def wrapped(label, width=46):
    """A label in lines."""
    lines, line = [], ""
    for word in label.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]


def legend(names):
    out = [text(MARGIN, 20, "Cost as a multiple of the best peer's (dashed line); shorter is better. The black mark is the goal.", size=13)]
    at = MARGIN
    for name in names:
        out.append(f'<rect x="{at}" y="32" width="12" height="12" fill="{COLOURS[name]}"/>')
        out.append(text(at + 17, 42, name, size=12))
        at += 40 + 7 * len(name)
    return out


def text(at, y, said, anchor="start", size=11, colour=TEXT, down=0):
    """A line of text, centred on `y` where it ends at `at`; with a rim, so that lines behind it do not cross it."""
    y = round(y + down + size / 3, 1) if anchor == "end" else y
    return (f'<text x="{at}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'stroke="#ffffff" stroke-width="3" paint-order="stroke">{escape(said)}</text>')


def document(height, parts, title):
    """On white, so that it reads the same on a dark page."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(title)}</title>", f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *parts, "</svg>", ""])
