"""mock-azure as a process, with one service whose keys change, and the configuration of a gate that knows it by its name."""

import json
import subprocess
from urllib.parse import urlsplit

import requests

from . import secrets
from .gate import BINARY, environment
from .until import until

PATIENCE = 20


class Azure:
    """An AKS service `iris` with three front ends that learn a new key late."""

    # What the command is run by, and more of its options.
    wrapped, options = [], []
    # How the service authenticates, and more of how it behaves.
    auth, behaviour = "key", {}

    def __init__(self, folder, learn_lag=(0, 1, 2), operation=1):
        folder.mkdir()
        self.folder, self.secret = folder, secrets.key()
        fixture = {
            "application": {"client_secret": self.secret, "role": "contributor"},
            "services": {
                "iris": {
                    "kind": "aks", "auth": self.auth, "primary_key": secrets.key(), "secondary_key": secrets.key(), "front_ends": 3,
                    "behaviour": {"learn_lag": list(learn_lag), "operation": operation} | self.behaviour,
                },
            },
        }
        (folder / "fixture.json").write_text(json.dumps(fixture))
        self.process = subprocess.Popen(
            [*self.wrapped, BINARY, "mock-azure", "--tls", "--fixture", "fixture.json", "--port-file", "ports.json", *self.options],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment(),
        )
        until((folder / "ports.json").exists, "mock-azure listens", patience=PATIENCE)
        self.ports = json.loads((folder / "ports.json").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def ask(self, method, path, **more):
        answer = requests.request(method, f"{self.ports['admin']}{path}", timeout=PATIENCE, **more)
        answer.raise_for_status()
        return answer.json()

    def keys(self):
        keys = self.ask("GET", "/services/iris")["keys"]
        return keys["primaryKey"], keys["secondaryKey"]

    def seen(self):
        return self.ask("GET", "/seen")

    def regenerated(self):
        """How often anybody asked for a new key over the control plane."""
        return self.seen()["calls"]["mms"].get("regenerateKeys", 0)

    def outsider(self, key):
        """Somebody else makes a key anew; the value is one that would be found in what we say."""
        self.ask("POST", "/services/iris/regenerate", json={"key": key, "value": secrets.key()})

    def config(self, folder, caller_key, routes, rotation, look="500ms"):
        """The gate's, for this service."""
        ports = self.ports
        for name, value in (("principal", self.secret), ("caller", caller_key)):
            (folder / name).write_text(value)
            (folder / name).chmod(0o600)
        principal = {
            "tenant_id": ports["tenant"], "client_id": ports["client_id"], "client_secret": {"file": str(folder / "principal")},
        }
        cloud = {"authority": ports["entra_tls"], "resource_manager": ports["arm_tls"], "ca": ports["ca_file"]}
        place = {"subscription_id": ports["subscription"], "resource_group": ports["resource_group"], "name": ports["workspace"]}
        assert urlsplit(ports["scoring"]["iris"][0]).scheme == "http"
        return {
            "identities": {"default": {"service_principal": principal, "cloud": cloud}},
            "workspaces": {"ml": {"identity": "default"} | place},
            "endpoints": {
                "iris": {
                    "service": {"workspace": "ml", "name": "iris", "kind": "aks"},
                    "look": look, "listkeys_interval": "1s", "rotation": rotation,
                },
            },
            "callers": {"team": {"keys": [{"file": str(folder / "caller")}]}},
            "routes": [{"callers": ["team"], "endpoint": "iris", "rewrite": {"path_prefix": "/"}} | route for route in routes],
        }


def iris_of(running):
    """The endpoint `iris`."""
    [iris] = [endpoint for endpoint in running.status()["endpoints"] if endpoint["name"] == "iris"]
    return iris


def rotation_of(running):
    """How the rotation of `iris` stands; None while nothing is known."""
    return (iris_of(running).get("service") or {}).get("rotation")


def is_settled(running):
    """Whether `iris` serves, and both its keys are accepted by every front end."""
    iris = iris_of(running)
    rotation = (iris.get("service") or {}).get("rotation")
    return iris["ready"] and rotation and all(slot["standing"] == "settled" for slot in rotation["slots"])
