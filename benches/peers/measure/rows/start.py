"""Start-up and size."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .. import Refused, proof, proxies
from ..goals import GOALS, MIB
from ..line import Line
from ..programs import ROOT, TARGET
from ..proxies import ENVOY, HAPROXY, NGINX, SCOREGATE, Setup
from ..rounds import in_turns, progress
from ..server import listens, until

PROXIES = [SCOREGATE, NGINX, HAPROXY, ENVOY]
STARTS = 3
SETTLE = 3
# A look every millisecond disturbs what starts on the other core by nothing.
LOOK = 0.001


def start(lab, options):
    """From exec to the first request served, everything in the page cache."""
    names = {name: name for name in lab.running(PROXIES)}
    for name in names:
        first_request(lab, name)
    figures = in_turns(names, options.rounds * STARTS, lambda _, name: first_request(lab, name))
    progress("start", figures)
    return [Line("start", "from exec to the first request served, warm", "ms", figures, goal=GOALS["start"])]


def first_request(lab, name):
    """Milliseconds."""
    proxy = proxies.make(name, lab, lab.place(name), Setup(upstreams=[lab.upstream]))
    began = time.monotonic()
    proxy.launch()
    try:
        until(lambda: listens(proxy.port), f"{name} listens", proxy.process, pause=LOOK)
        status, _, body = proof.ask(proxy.port)
        took = time.monotonic() - began
    finally:
        proxy.stop()
    if (status, body) != (200, proof.ANSWER):
        raise Refused(f"{name}'s first answer was {status} {body[:200]!r}")
    return took * 1000


def rest(lab, options):
    """Resident memory some seconds after a few requests."""
    figures = {}
    for name in lab.running(PROXIES):
        with lab.proxy(name) as proxy:
            time.sleep(SETTLE)
            figures[name] = [proxy.resident()]
    progress("rest", figures, "{:,.0f}")
    return [Line("rest", "resident memory at rest", "bytes", figures)]


def size(lab, options):
    """The binary alone, as it is installed; libraries that it shares with others are not counted."""
    paths = {SCOREGATE: lab.binary, NGINX: shutil.which("nginx"), HAPROXY: shutil.which("haproxy"), ENVOY: lab.envoy}
    figures = {name: [os.path.getsize(paths[name])] for name in lab.running(PROXIES)}
    return [Line("size", "size of the binary", "bytes", figures, note=without_debug_information(lab))]


def without_debug_information(lab):
    if shutil.which("strip") is None:
        return ""
    stripped = lab.folder / "stripped"
    done = subprocess.run(["strip", "--strip-debug", "-o", stripped, lab.binary], capture_output=True)
    return f"scoregate without its line tables: {os.path.getsize(stripped) / MIB:,.1f} MiB" if done.returncode == 0 else ""


def build(lab, options):
    """The first command of the README, from nothing. Uses every core for minutes: only where it is asked for."""
    with tempfile.TemporaryDirectory(dir=TARGET) as target:
        began = time.monotonic()
        command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", ROOT / "Cargo.toml", "--target-dir", target]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
            raise Refused("scoregate cannot be built")
        took = time.monotonic() - began
        figures = {SCOREGATE: [took]}
        binary = os.path.getsize(Path(target) / "release/scoregate")
    return [Line("build", "build from nothing", "s", figures, note=f"{binary / MIB:,.1f} MiB")]


ROWS = {"start": start, "rest": rest, "size": size, "build": build}
