"""The table, as Markdown."""

import statistics

from ..goals import Bound
from ..line import Verdict
from ..proxies import COLUMNS, SCOREGATE
from . import units


def markdown(run):
    """Heading, table, and what fell short."""
    columns = [name for name in COLUMNS if any(name in line.figures for line in run.lines)]
    head = ["work", *columns, "ratio: median (min–max), to", "floor", "goal", "verdict"]
    rows = [[work(line), *(cell(line, column) for column in columns), ratio(line), *bounds(line), line.verdict().value]
            for line in run.lines]
    table = [row_text(head), row_text(["---"] * len(head)), *map(row_text, rows)]
    return "\n".join([*heading(run), "", *table, "", *remarks(run)]) + "\n"


def heading(run):
    machine = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return [
        f"`{run.command}`, commit {run.commit}{rounds(run)}, {run.minutes:.0f} min.",
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}; "
        f"load when it began: {machine['load_before']}.",
        f"{versions}.",
        "Everything on loopback; each proxy on one core with one worker, callers and upstream on another. Smaller is better everywhere.",
    ]


def rounds(run):
    """How many, where anything was measured more than once."""
    return f", {run.rounds} {'rounds' if run.rounds > 1 else 'round'} in turns" if any(len(line.ratios()) > 1 for line in run.lines) else ""


def work(line):
    unit = units.unit_of(line.unit)
    return f"{line.work}: {unit}" if unit else line.work


def cell(line, column):
    if column not in line.figures:
        return "–"
    text = units.shown(line.median(column), line.unit)
    return f"**{text}**" if column == SCOREGATE else text


def ratio(line):
    ratios = line.ratios()
    if not ratios:
        return "–"
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}, {line.compared_with()[0]}"


def bounds(line):
    """Floor and goal."""
    if line.goal is None:
        return "–", "–"
    if line.goal.bound is Bound.RATIO:
        return f"{line.goal.floor:.2f}", f"{line.goal.goal:.2f}"
    return tuple(units.shown(bound, line.unit) for bound in (line.goal.floor, line.goal.goal))


def remarks(run):
    """What falls short, with its figure; what could not be measured; what must be read with a row."""
    said = []
    for line in run.lines:
        if line.verdict() is Verdict.SHORT:
            floor, _ = bounds(line)
            judged = f"{line.judged():.2f}" if line.goal.bound is Bound.RATIO else units.shown(line.judged(), line.unit)
            said.append(f"- **Short of its floor**: {line.work}: {judged}, floor {floor}.")
        if line.missing:
            said.append(f"- **Not possible yet**: {line.work}: {line.missing}.")
        if line.note:
            said.append(f"- {line.work}: {line.note}.")
    said += [f"- Without {name}: {why}." for name, why in run.without.items()]
    return said


def row_text(cells):
    return f"| {' | '.join(cells)} |"
