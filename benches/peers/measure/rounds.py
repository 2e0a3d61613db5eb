"""Measuring several things in turns, so that what disturbs the machine disturbs them alike."""

from .programs import say


def in_turns(subjects, rounds, measure):
    """`measure(name, subject)` for each, round after round: figures by name. Who begins changes with each round."""
    names = list(subjects)
    figures = {name: [] for name in names}
    for nth in range(rounds):
        for name in names[nth % len(names):] + names[:nth % len(names)]:
            figures[name].append(measure(name, subjects[name]))
    return figures


def progress(row, figures, form="{:,.1f}"):
    """What came of a row, for whoever waits."""
    say(f"  {row}: " + ", ".join(f"{name} {'/'.join(form.format(one) for one in values)}" for name, values in figures.items()))
