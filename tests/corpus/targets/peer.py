"""A peer: another proxy with an equivalent configuration, which is a template under `peers/`.

A template is text with `{{name}}`. What stands between a line with `#-- each lane` and a line with `#-- end` is repeated for each
lane; `{{a if slow else b}}` chooses by profile.
"""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from .target import Target, free_ports

TEMPLATES = Path(__file__).parents[1] / "peers"
EACH = re.compile(r"^[^\n]*#-- each lane[^\n]*\n(.*?)^[^\n]*#-- end[^\n]*\n", re.M | re.S)
# Descriptors of each of its processes in the profile of that name: what it needs for itself, and few more.
FEW_IN_ALL = 120
CHOICE = re.compile(r"\{\{([^{}]*?) if slow else ([^{}]*?)\}\}")


class Peer(Target):
    """One that has a program and a configuration file."""

    template = ""

    def launch(self):
        numbers = free_ports(2 * len(self.upstreams))
        self.ports = self.pair(numbers)
        self.file = self.folder / self.template
        self.file.write_text(self.render((TEMPLATES / self.template).read_text()))
        self.out = open(self.folder / "out", "wb")  # noqa: SIM115 - closed in stop
        few = ["prlimit", f"--nofile={FEW_IN_ALL}:{FEW_IN_ALL}"] if self.profile == "few-descriptors" else []
        self.process = subprocess.Popen([*few, *self.command()], stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out,
            cwd=self.folder)
        for number in numbers:
            self.await_port(number)
        return self.ports

    def await_port(self, number):
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", number)) == 0:
                    return
            said = (self.folder / "out").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None and time.monotonic() < deadline, f"{self.name} does not start: {said}"
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                subprocess.run(["kill", "-9", str(pid)], check=False)
            self.process.wait(10)
        self.out.close()

    def pids(self):
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True,
            check=False).stdout.split()
        return [self.process.pid, *map(int, children)]

    def render(self, text):
        values = {
            "folder": self.folder, "cert": self.pki.cert, "key": self.pki.key, "pem": self.pem(),
            "a": self.keys.a, "b": self.keys.b, "service": self.keys.service,
        }

        def lanes(found):
            return "".join(
                fill(found.group(1), {"n": n, "plain": ports.plain, "tls": ports.tls, "upstream": upstream.port})
                for n, (ports, (upstream, _)) in enumerate(zip(self.ports, self.upstreams))
            )

        text = CHOICE.sub(lambda found: found.group(1 if self.profile == "slow" else 2).strip(), text)
        return fill(EACH.sub(lanes, text), values)

    def pem(self):
        """Certificate and key in one file."""
        file = self.folder / "both.pem"
        file.write_bytes(self.pki.cert.read_bytes() + self.pki.key.read_bytes())
        return file


def fill(text, values):
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", str(value))
    return text


def program(*names):
    """A program that must be there."""
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin"):
            return found
    raise SystemExit(f"{names[0]} is missing: a peer that is asked for must be there")


def version_of(command, pattern):
    done = subprocess.run(command, capture_output=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1).decode() if found else "?"
