"""Machines of their own, joined by wires that can lose, delay and cut: network namespaces, veth and a router between them.

    client ─┐            ┌─ upstream
            ├─  router  ─┤
      gate ─┘            └─ azure

Sockets are made inside a namespace by the thread that asks and then used from anywhere, so one process plays every part; only the gate
and the embedded Azure are run inside.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
MACHINES = ["client", "gate", "upstream", "azure"]
# Azure's names lead to the embedded one.
NAMES = "login.microsoftonline.com management.azure.com ml.azure.com"


def run(*arguments):
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr}"


class Network:
    """Made by the test alone, and removed by it."""

    def __init__(self):
        # Of this process, so that two runs do not meet.
        self.mark = f"sgt{os.getpid()}"
        self.address = {machine: f"10.213.{at}.2" for at, machine in enumerate(MACHINES, 1)}
        self.relays = []

    def name(self, machine):
        return f"{self.mark}-{machine}"

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def make(self):
        run("ip", "netns", "add", self.name("router"))
        self.inside("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; ip link set lo up")
        for at, machine in enumerate(MACHINES, 1):
            name = self.name(machine)
            run("ip", "netns", "add", name)
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", machine, "netns", self.name("router"))
            for where, link, address in ((machine, "eth0", 2), ("router", machine, 1)):
                self.inside(where, "ip", "address", "add", f"10.213.{at}.{address}/24", "dev", link)
                self.inside(where, "ip", "link", "set", link, "up")
            self.inside(machine, "ip", "link", "set", "lo", "up")
            self.inside(machine, "ip", "route", "add", "default", "via", f"10.213.{at}.1")
        # `ip netns exec` puts these in the place of the machine's own.
        etc = Path("/etc/netns") / self.name("gate")
        etc.mkdir(parents=True)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address['azure']} {NAMES}\n")
        (etc / "resolv.conf").write_text(f"nameserver {self.address['azure']}\noptions timeout:1 attempts:1\n")

    def remove(self):
        for relay in self.relays:
            relay.stop()
        for machine in ["router", *MACHINES]:
            subprocess.run(["ip", "netns", "delete", self.name(machine)], capture_output=True)
        shutil.rmtree(Path("/etc/netns") / self.name("gate"), ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/etc/netns").rmdir()

    def inside(self, machine, *arguments):
        run("ip", "netns", "exec", self.name(machine), *arguments)

    def wrap(self, machine):
        """What a command is run by to be on this machine; it stays the same process."""
        return ["ip", "netns", "exec", self.name(machine)]

    @contextlib.contextmanager
    def on(self, machine):
        """This thread is on that machine: sockets that it makes belong there for good."""
        with contextlib.ExitStack() as stack:
            here, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{self.name(machine)}"))
            stack.callback(os.close, here)
            stack.callback(os.close, there)
            enter(there)
            stack.callback(enter, here)
            yield

    def listen(self, machine, port=0):
        with self.on(machine):
            return socket.create_server((self.address[machine], port), backlog=1024)

    # ---- faults, in both directions of a machine's wire ----

    def lose(self, machine, percent):
        """Packets at random, by nftables: kernels without netem are common."""
        rules = "\n".join(
            f"add rule ip faults forward {way} \"{machine}\" numgen random mod 100 < {percent} drop" for way in ("iifname", "oifname"))
        chain = "add table ip faults\nadd chain ip faults forward { type filter hook forward priority 0; }\n"
        self.inside("router", "nft", f"{chain}{rules}")

    def squeeze(self, machine, rate):
        """A thin wire: `2mbit`."""
        for where, link in (("router", machine), (machine, "eth0")):
            self.inside(where, "tc", "qdisc", "add", "dev", link, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms")

    def cut(self, machine):
        """Nothing gets there and nothing comes from there, and nobody is told."""
        self.inside("router", "ip", "route", "add", "blackhole", f"{self.address[machine]}/32")
        self.inside("router", "ip", "rule", "add", "iif", machine, "blackhole")

    def join(self, machine):
        """The end of `cut`."""
        self.inside("router", "ip", "route", "delete", "blackhole", f"{self.address[machine]}/32")
        self.inside("router", "ip", "rule", "delete", "iif", machine, "blackhole")

    def scramble(self, machine, shortest, longest):
        """Each packet takes its own time between these, so that they overtake one another: a relay of our own."""
        from .relay import Relay

        self.relays.append(Relay(self, machine, shortest, longest))


def enter(namespace):
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
