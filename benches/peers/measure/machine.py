"""The machine, and which of its cores do what."""

import os
import platform
import re
import resource
from pathlib import Path

from . import Refused

# 10,000 callers' connections, and what else a proxy has open.
DESCRIPTORS = 12_000


def cores():
    """The core of the proxy, and the core of everything else."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Refused("two cores are needed: one for the proxy, one for its callers and the upstream")
    return allowed[0], allowed[1]


def allow_descriptors():
    """As many as the machine allows, for this process and all that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        raise Refused(f"{DESCRIPTORS:,} open files are needed for 10,000 idle connections; the machine allows {hard:,} (`ulimit -Hn`)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def description():
    """What a figure should be read with."""
    info = Path("/proc/cpuinfo").read_text()
    memory = Path("/proc/meminfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.M)
    system = re.search(r'^PRETTY_NAME="(.+)"$', Path("/etc/os-release").read_text(), re.M)
    return {
        "processor": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(re.search(r"MemTotal:\s+(\d+) kB", memory).group(1)) / 2**20),
        "kernel": platform.release(),
        "system": system.group(1) if system else platform.system(),
        "load_before": round(os.getloadavg()[0], 2),
    }
