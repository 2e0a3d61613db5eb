"""A running `scoregate run`, from a configuration made here."""

import json
import socket
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

from .mock import BINARY

DEADLINE = 20


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Gate:
    """With a plain listener and an admin address; `configure` gets the base of the listener and gives the rest."""

    def __init__(self, folder, configure):
        self.folder = Path(folder)
        public, admin = free_port(), free_port()
        self.base, self.admin = f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}"
        config = {
            "version": 1,
            "state_dir": str(self.folder / "state"),
            "listeners": [{"name": "public", "address": f"127.0.0.1:{public}"}],
            "admin": {"address": f"127.0.0.1:{admin}", "socket": str(self.folder / "admin.sock")},
            "log": {"access": "all"},
        } | configure(self.base)
        path = self.folder / "gate.yaml"
        path.write_text(json.dumps(config))
        self.log = open(self.folder / "gate.log", "wb")
        self.process = subprocess.Popen([BINARY, "run", "-c", path], stdout=self.log, stderr=self.log)
        end = time.monotonic() + DEADLINE
        while not self.ready():
            assert self.process.poll() is None, self.written()
            assert time.monotonic() < end, "the gate is not ready"
            time.sleep(0.05)

    def ready(self):
        try:
            with urlopen(f"{self.admin}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def metrics(self):
        with urlopen(f"{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def written(self):
        return (self.folder / "gate.log").read_text()

    def stop(self):
        self.process.terminate()
        try:
            assert self.process.wait(30) == 0, "SIGTERM ends it in peace"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.log.close()
        assert "panicked" not in self.written()
