"""What the kernel says of a process that keeps itself from others, as a gate does (`PR_SET_DUMPABLE`): root may ask."""

import os
import subprocess
from pathlib import Path


def as_root(*arguments, text=None):
    """What a command prints that is run as root."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    return subprocess.run([*sudo, *map(str, arguments)], input=text, capture_output=True, text=True, check=True).stdout


def descriptors(pid):
    """How many descriptors it has open."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except PermissionError:
        return len(as_root("ls", f"/proc/{pid}/fd").split())


def forget_peak(pid):
    """`VmHWM` counts from here."""
    as_root("tee", f"/proc/{pid}/clear_refs", text="5")
