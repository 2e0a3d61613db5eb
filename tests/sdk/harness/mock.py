"""A running `scoregate mock-azure`, and its admin API."""

import json
import os
import subprocess
import time
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("SCOREGATE_BINARY", ROOT / "target/release/scoregate"))
DEADLINE = 20


class Mock:
    """Started with --tls; ends with `stop`."""

    def __init__(self, folder, *arguments):
        port_file = Path(folder) / "ports.json"
        self.log = open(Path(folder) / "mock.log", "wb")
        command = [BINARY, "mock-azure", "--tls", "--port-file", port_file, *arguments]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        end = time.monotonic() + DEADLINE
        while not port_file.exists():
            assert self.process.poll() is None, Path(folder, "mock.log").read_text()
            assert time.monotonic() < end, "mock-azure did not start"
            time.sleep(0.02)
        self.ports = json.loads(port_file.read_text())

    def __getattr__(self, name):
        try:
            return self.__dict__["ports"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def workspace_id(self):
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    @property
    def authority(self):
        return f"{self.entra_tls}/{self.tenant}"

    def order(self, method, path, body=None):
        """An order to the admin API."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.admin + path, data, method=method), timeout=DEADLINE) as answer:
            return json.load(answer)

    def keys(self, service):
        keys = self.order("GET", f"/services/{service}")["keys"]
        return keys["primaryKey"], keys["secondaryKey"]

    def seen(self, service=None):
        seen = self.order("GET", "/seen")
        return seen["services"][service] if service else seen

    def approve_devices(self):
        """Approves whatever waits; says how many."""
        waiting = self.order("GET", "/devicecode")["waiting"]
        for code in waiting:
            self.order("POST", f"/devicecode/{code}/approve")
        return len(waiting)

    def stop(self):
        self.process.terminate()
        try:
            assert self.process.wait(DEADLINE) == 0, "SIGTERM ends it in peace"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.log.close()
