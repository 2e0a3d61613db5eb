"""A gate under test, whichever it is: its processes, and the lanes that lead through it."""

import random
import secrets as chance
import socket
from pathlib import Path

from harness import processes, secrets

from ..core.http2_upstream import UpstreamH2
from ..core.lane import Keys, Lane, Ports

# Lanes that are played on at the same time.
LANES = {"usual": 8, "slow": 24, "few-descriptors": 2}


def new_keys():
    """Secrets of one run. Each carries the mark by which it is found in anything that is written."""
    return Keys(*(f"{secrets.MARK}{role}-{chance.token_hex(16)}" for role in ("a", "b", "expired", "service", "extra")))


def free_ports(count):
    """Ports that nobody listens on now, below those that the kernel gives to connections."""
    found = []
    for number in random.SystemRandom().sample(range(10240, 32000), 4 * count):
        with socket.socket() as one:
            try:
                one.bind(("0.0.0.0", number))
            except OSError:
                continue
        found.append(number)
        if len(found) == count:
            break
    return found


class Target:
    """One gate with one profile of its configuration."""

    name = ""
    version = ""
    # What it can do beside what every case needs: h2-upstream, path-chars, trailers, extra-header, caller-headers, logs, admin.
    has = frozenset()
    # It attaches the service's key and tells the upstream who calls.
    attaches = True

    def __init__(self, folder, profile, loop, pki):
        self.folder, self.profile, self.loop, self.pki = Path(folder), profile, loop, pki
        self.folder.mkdir(parents=True)
        self.keys = new_keys()
        self.upstreams = [(loop.upstream(), loop.upstream(UpstreamH2)) for _ in range(LANES[profile])]

    def start(self):
        """Starts it and returns its lanes."""
        ports = self.launch()
        return [Lane(number, self, one, *self.upstreams[number], self.keys, self.pki) for number, one in enumerate(ports)]

    def launch(self):
        """Starts the processes; the ports of each lane."""
        raise NotImplementedError

    def stop(self):
        """Ends them."""
        raise NotImplementedError

    def pids(self):
        """Its processes."""
        raise NotImplementedError

    def memory(self):
        """Resident bytes of all its processes."""
        total = 0
        for pid in self.pids():
            try:
                text = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")), 0) * 1024
        return total

    def descriptors(self):
        """Open descriptors of all its processes."""
        total = 0
        for pid in self.pids():
            try:
                total += processes.descriptors(pid)
            except OSError:
                continue
        return total

    @staticmethod
    def pair(numbers):
        """Ports two by two."""
        return [Ports(plain, tls) for plain, tls in zip(numbers[::2], numbers[1::2])]
