"""A control group with a limit on memory, of either generation, for one process of a test."""

import contextlib
import os
import re
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Made by root, removed at the end; the processes in it must have ended by then."""

    def __init__(self, limit):
        name = f"scoregate-test-{os.getpid()}"
        if (ROOT / "memory/memory.limit_in_bytes").exists():
            self.folder, self.generation = ROOT / "memory" / name, 1
            files = {"memory.limit_in_bytes": limit, "memory.swappiness": 0}
            self.peak, self.used = "memory.max_usage_in_bytes", "memory.usage_in_bytes"
        else:
            self.folder, self.generation = ROOT / name, 2
            # Where the root does not hand the controller on, it is asked to.
            (ROOT / "cgroup.subtree_control").write_text("+memory")
            files = {"memory.max": limit, "memory.swap.max": 0}
            self.peak, self.used = "memory.peak", "memory.current"
        self.folder.mkdir()
        for file, value in files.items():
            # A kernel without swap has no file for it.
            if (self.folder / file).exists():
                (self.folder / file).write_text(str(value))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(FileNotFoundError):
            self.folder.rmdir()

    def wrap(self):
        """What a command is run by to be in it."""
        return ["bash", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "in-group"]

    def figure(self, file):
        return int((self.folder / file).read_text())

    def killed(self):
        """How many processes the kernel has killed here."""
        file = "memory.oom_control" if self.generation == 1 else "memory.events"
        found = re.search(r"^oom_kill (\d+)", (self.folder / file).read_text(), re.M)
        return int(found.group(1))
