"""Microsoft's inference server with a model of ours, as a process of its own."""

import os
import random
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from .until import until

SCORE = Path(__file__).resolve().parents[1] / "model/score.py"
# Below the range that Linux gives to outgoing connections.
PORTS = range(12000, 30000)


class ModelServer:
    """Its command line takes no port 0, so a port is tried; a mark in its answers tells that it is ours that listens."""

    def __init__(self, folder, script=SCORE):
        self.folder = Path(folder)
        self.script = script
        self.process = None
        self.port = None

    def __enter__(self):
        for _ in range(10):
            if self.try_port(random.choice(PORTS)):
                return self
        raise AssertionError(f"the inference server does not start:\n{self.log()[-3000:]}")

    def __exit__(self, *_):
        self.end()

    def try_port(self, port):
        mark = secrets.token_hex(8)
        # Its web server keeps a control socket in the home folder.
        variables = os.environ | {"E2E_MARK": mark, "HOME": str(self.folder)}
        with open(self.folder / "model-server.log", "ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).parent / "azmlinfsrv", "--entry_script", self.script, "--port", str(port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=variables,
            )

        def ours():
            if self.process.poll() is not None:
                return "ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/score?who=1", timeout=10) as answer:
                    return "up" if answer.read() == mark.encode() else "taken"
            except urllib.error.HTTPError:
                return "taken"
            except OSError:
                return None

        if until(ours, "the inference server answers", patience=120) == "up":
            self.port = port
            return True
        self.end()
        return False

    def end(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self):
        return (self.folder / "model-server.log").read_text()

    def url(self, path="/score"):
        return f"http://127.0.0.1:{self.port}{path}"
