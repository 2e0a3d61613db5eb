"""One run: which rows, in which lab, and what is said at the end."""

import dataclasses
import subprocess
import time

from . import Refused, machine, programs, proxies
from .goals import Kind
from .lab import Lab
from .programs import ROOT, say
from .rows import ROWS

# What the quick rows are made with.
QUICK_PROGRAMS = ["nginx", "h2load", "openssl", "strace", "valgrind"]


@dataclasses.dataclass
class Run:
    """What was measured, with everything that it must be read with."""

    command: str
    commit: str
    rounds: int
    machine: dict
    versions: dict
    without: dict
    lines: list
    minutes: float = 0.0

    def failed(self, at_most):
        """Lines of counted things past their floor, or past what is allowed instead: a busy machine makes none of these."""
        counted = [line for line in self.lines if line.judged() is not None and line.goal.kind is Kind.COUNTED]
        return [line for line in counted if line.judged() > at_most.get(line.key, line.goal.floor)]


def measure(options, rows, command):
    """Installs, builds, measures. Raises `Refused` where the result would mean nothing."""
    if unknown := [row for row in rows if row not in ROWS]:
        raise Refused(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if not options.binary.exists():
        raise Refused(f"{options.binary} is missing: cargo build --release")
    began = time.monotonic()
    programs.install(QUICK_PROGRAMS if options.quick else programs.PACKAGES)
    machine.allow_descriptors()
    described = machine.description()
    with Lab(options.binary.resolve(), [proxies.NGINX] if options.quick else proxies.PEERS, programs.build_tools()) as lab:
        run = Run(command, commit(), options.rounds, described, lab.versions(), lab.without, [])
        for nth, row in enumerate(rows, 1):
            say(f"{row} ({nth} of {len(rows)}, {(time.monotonic() - began) / 60:.1f} min)")
            run.lines += ROWS[row](lab, options)
    run.minutes = (time.monotonic() - began) / 60
    return run


def commit():
    """The commit that the tree stands at, and whether it has been changed since."""
    def git(*words):
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""
    # Beside a copy that is no clone there is nothing to ask.
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if git("status", "--porcelain", "--untracked-files=no") else "")


