"""The fixtures of the fault tests: the harness's of the end-to-end tests, and the table of what was found."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "e2e")]

from harness.fixtures import *  # noqa: E402, F403
from harness.fixtures import FULL  # noqa: E402

# What takes longer is in tests/full.
collect_ignore = [] if FULL else ["test_long.py"]
TABLE = Path(__file__).resolve().parents[2] / "target/faults.md"
FOUND = []


@pytest.fixture
def found(show):
    """Writes a line of the table: the fault, what must happen, what did. The README's is made of these."""

    def write(fault, must, did):
        FOUND.append((fault, must, did))
        show(f"{fault}: {did}")

    return write


@pytest.fixture
def root():
    """Some faults are made by the kernel for root alone. Nothing passes by being skipped."""
    assert os.geteuid() == 0, "run the fault tests as root: mounts, network namespaces and control groups need it"


def pytest_sessionfinish():
    if FOUND:
        lines = [f"| {' | '.join(line)} |" for line in FOUND]
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join(["| fault | what must happen | what did |", "|---|---|---|", *lines, ""]))
