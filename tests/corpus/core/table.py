"""What a run says at its end."""

from collections import Counter

from .case import CLASSES, Outcome


def table(results_of):
    """Passed cases by corpus and class, a column per target, and what the failures are."""
    names = list(results_of)
    cases = {}
    for results in results_of.values():
        for result in results:
            cases[(result.case.corpus, result.case.klass, result.case.name)] = result.case
    verdicts = {
        name: {(r.case.corpus, r.case.klass, r.case.name): r.verdict for r in results} for name,
            results in results_of.items()
    }
    rows = [["corpus", "class", "cases", *names]]
    corpora = list(dict.fromkeys(key[0] for key in cases))
    for corpus in corpora:
        for klass in [klass for klass in CLASSES if any(key[:2] == (corpus, klass) for key in cases)]:
            keys = [key for key in cases if key[:2] == (corpus, klass)]
            rows.append([corpus, klass, str(len(keys)), *(passed(verdicts[name], keys) for name in names)])
        keys = [key for key in cases if key[0] == corpus]
        rows.append([corpus, "all", str(len(keys)), *(passed(verdicts[name], keys) for name in names)])
        for outcome in list(Outcome)[1:]:
            counts = [Counter(v.outcome for k, v in verdicts[name].items() if k[0] == corpus)[outcome] for name in names]
            if any(counts):
                rows.append(["", f"  {outcome.value}", "", *(str(count) for count in counts)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        if row[1] == "all" or row is rows[0]:
            lines.append("")
        lines.append("  ".join(text.ljust(width) if at < 2 else text.rjust(width) for at, (text, width) in enumerate(zip(row,
            widths))).rstrip())
    return "\n".join(lines[1:])


def passed(verdicts, keys):
    """How many passed, and how many could not be played on this target."""
    played = [verdicts[key] for key in keys if key in verdicts]
    missing = len(keys) - len(played)
    return str(sum(map(bool, played))) + (f" ({missing} n/a)" if missing else "")


def report(result, width=400):
    """One failure, with the bytes."""
    case = result.case
    lines = [f"{case.corpus} / {case.klass} / {case.name} ({case.section}): {result.verdict.outcome.value}",
        f"    {result.verdict.why}"]
    for sent, got in result.transcript:
        lines += [f"    sent {sent[:width]!r}", f"    got  {got[:width]!r}"]
    if result.seen:
        lines.append(f"    upstream saw {result.seen[:width]!r}")
    return "\n".join(lines)
