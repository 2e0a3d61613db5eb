"""A process that serves: pinned to a core, in a folder of its own, with what the kernel knows of it."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import Refused

TICKS = os.sysconf("SC_CLK_TCK")
# Envoy under load from others takes seconds to start; valgrind takes longer.
START = 120
STOP = 60


def free_port():
    """One that no connection going out can take before it is listened on: below the range that the kernel gives those."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(max(lowest // 2, 1024), lowest), 100):
        with socket.socket() as sock:
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                return port
    raise Refused(f"no port below {lowest:,} is free on 127.0.0.1")


def until(true, what, process=None, seconds=START, pause=0.02):
    """Asks again and again; refuses when the time is over or the process has ended."""
    deadline = time.monotonic() + seconds
    while not true():
        if process is not None and process.poll() is not None:
            raise Refused(f"it ended with {process.returncode} instead of: {what}")
        if time.monotonic() > deadline:
            raise Refused(f"not within {seconds} s: {what}")
        time.sleep(pause)


def listens(port):
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """Ends with its `with` block. What it wrote stays in its folder, and is shown where it fails."""

    def __init__(self, name, command, folder, cores, ports, wrapper=(), end=signal.SIGTERM):
        self.name, self.folder, self.ports, self.end = name, Path(folder), ports, end
        self.command = [str(word) for word in [*wrapper, *command]]
        self.cores = cores

    def __enter__(self):
        self.launch()
        try:
            for port in self.ports:
                until(lambda: listens(port), f"{self.name} listens", self.process)
        except Refused as refused:
            self.stop()
            raise Refused(f"{refused}; {self.name} said: {self.said()}") from None
        return self

    def launch(self):
        log = self.folder / "log"
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cores))

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(self.end)
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    # ---- what the kernel knows ----

    def processes(self):
        """Its own and all that came from it."""
        found, open_ = [], [self.process.pid]
        while open_:
            pid = open_.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                open_ += map(int, (task / "children").read_text().split())
        return found

    def cpu(self):
        """Seconds of user and system time so far."""
        total = 0
        for pid in self.processes():
            # The name, in parentheses, may have anything in it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def resident(self, field="VmRSS"):
        """Resident bytes; with `VmHWM`, the most there were since `forget_peak`."""
        return sum(
            int(re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M).group(1)) * 1024
            for pid in self.processes())

    def forget_peak(self):
        for pid in self.processes():
            # A gate keeps itself from others of its user; root may.
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            subprocess.run([*sudo, "tee", f"/proc/{pid}/clear_refs"], input=b"5", stdout=subprocess.DEVNULL, check=True)

    def is_traced(self):
        """Whether something is attached to every thread."""
        statuses = [task / "status" for pid in self.processes() for task in Path(f"/proc/{pid}/task").iterdir()]
        return all(not re.search(r"^TracerPid:\s+0$", status.read_text(), re.M) for status in statuses)
