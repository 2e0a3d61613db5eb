"""What callers do to a proxy. Every answer counts: one that is not right ends the run."""

import json
import os
import re
import subprocess
from dataclasses import dataclass

from . import Refused
from .proof import BODY
from .proxies import CALLER_KEY, CONFIG

MIB = 1 << 20
# Longer than any load here takes.
PATIENCE = 1200


@dataclass
class Count:
    """What a load came to."""

    requests: int
    cpu: float = 0.0

    def microseconds(self):
        return self.cpu / self.requests * 1e6


class Callers:
    """Loads against one proxy, on the core that is not the proxy's."""

    def __init__(self, lab, proxy):
        self.lab, self.proxy = lab, proxy

    def run(self, command, **environment):
        """A program to its end: what it printed."""
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
            env=self.lab.client_environment | environment, preexec_fn=self.pin)
        if done.returncode:
            raise Refused(f"the load on {self.proxy.name} failed: {(done.stderr or done.stdout).strip()[-1000:]}; "
                          f"{self.proxy.name} said: {self.proxy.said()}")
        return done.stdout

    def pin(self):
        os.sched_setaffinity(0, {self.lab.other_core})

    def spending(self, load):
        """A load, and the CPU time that the proxy spent on it."""
        before = self.proxy.cpu()
        count = load()
        count.cpu = self.proxy.cpu() - before
        return count

    # ---- Debian's generators ----

    def wrk(self, seconds, connections, path="/score", body=len(BODY), tls=False):
        url = f"https://localhost:{self.proxy.tls_port}{path}" if tls else f"http://127.0.0.1:{self.proxy.port}{path}"
        command = ["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--timeout", "30s", "-s", CONFIG / "request.lua", url]
        out = self.run(command, SCOREGATE_BODY=str(body))
        if "Non-2xx" in out or "Socket errors" in out:
            raise Refused(f"{self.proxy.name} answered wrongly under load:\n{out}")
        return Count(int(re.search(r"(\d+) requests in", out).group(1)))

    def h2load(self, *options, url):
        folder = self.lab.folder
        (folder / "body.json").write_bytes(BODY)
        command = ["h2load", "-t", 1, "-d", folder / "body.json", "-H", f"authorization: Bearer {CALLER_KEY}",
                   "-H", "content-type: application/json", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519", *options, url]
        out = self.run(command)
        counts = {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", re.search(r"^requests: .*$", out, re.M).group())}
        if counts["failed"] or counts["errored"] or counts["timeout"] or f"{counts['succeeded']} 2xx" not in out:
            raise Refused(f"{self.proxy.name} answered wrongly under load:\n{out}")
        return Count(counts["succeeded"])

    def h1_count(self, requests, connections):
        """So many requests, plain HTTP/1.1."""
        url = f"http://127.0.0.1:{self.proxy.port}/score"
        return self.h2load("--h1", "-c", connections, "-n", requests, url=url)

    def h2_for(self, seconds, connections, streams):
        """HTTP/2 over TLS for a time."""
        return self.h2load("-c", connections, "-m", streams, "-D", seconds, url=f"https://localhost:{self.proxy.tls_port}/score")

    def h2_count(self, requests, connections, streams, path):
        """So many requests, HTTP/2 over TLS."""
        return self.h2load("-c", connections, "-m", streams, "-n", requests, url=f"https://localhost:{self.proxy.tls_port}{path}")

    # ---- our own ----

    def ours(self, command, tls=False, **options):
        """The command line of `callers`."""
        port = self.proxy.tls_port if tls else self.proxy.port
        options = {"address": f"127.0.0.1:{port}", "key": CALLER_KEY} | options
        if tls:
            options["ca"] = self.lab.folder / "ca.pem"
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        return [str(word) for word in [self.lab.tools / "callers", command, *words]]

    def handshakes(self, count):
        """Fresh TLS connections, a full handshake and one request each."""
        return Count(json.loads(self.run(self.ours("handshakes", tls=True, count=count)))["requests"])

    def paced(self, seconds, **options):
        """Requests at a fixed `rate` (none: as fast as they are answered), and their latencies."""
        return json.loads(self.run(self.ours("paced", seconds=seconds, **options)))

    def bodies(self, connections, **options):
        """One large request each, at once."""
        return Count(json.loads(self.run(self.ours("bodies", connections=connections, **options)))["requests"])


class Idle:
    """Connections that have each served one request and are left alone while the `with` block runs."""

    def __init__(self, callers, connections, tls):
        self.callers, self.connections = callers, connections
        self.command = callers.ours("idle", tls=tls, connections=connections)

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=self.callers.pin)
        try:
            self.expect(f"idle {self.connections}")
        except Refused:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.kill()
        self.process.communicate()

    def expect(self, what):
        line = self.process.stdout.readline().strip()
        if line != what:
            self.process.kill()
            raise Refused(f"{self.callers.proxy.name} lost connections: {line} {self.process.communicate()[1].strip()[-500:]}")

    def ask_again(self):
        """Every connection is still there, and is served."""
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        self.expect(f"served {self.connections}")
