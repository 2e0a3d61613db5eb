"""Everything that was measured, as JSON: each round of each row, and how it was judged."""

import json


def json_text(run):
    """The whole run."""
    return json.dumps({
        "command": run.command, "commit": run.commit, "rounds": run.rounds, "minutes": round(run.minutes, 1), "machine": run.machine,
        "versions": run.versions, "without": run.without, "rows": [row(line) for line in run.lines],
    }, indent=1, ensure_ascii=False) + "\n"


def row(line):
    against = line.compared_with()
    goal = line.goal
    return {
        "key": line.key, "work": line.work, "unit": line.unit, "figures": line.figures, "medians": {name: line.median(name) for name in line.figures},
        "against": {"name": against[0], "figures": against[1]} if against else None, "ratios": line.ratios(),
        "goal": {"goal": goal.goal, "floor": goal.floor, "bounds": goal.bound.value, "kind": goal.kind.value} if goal else None,
        "judged": line.judged(), "verdict": line.verdict().value, "note": line.note, "missing": line.missing, "details": line.details,
    }
