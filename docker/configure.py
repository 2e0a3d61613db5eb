"""Writes the gate's configuration for the Azure of compose.yaml, whose addresses and secrets are new at each start.

configure.py FOLDER LISTEN: reads FOLDER/ports.json once it is there, writes FOLDER/scoregate.yaml, says what to try.
"""

import json
import os
import secrets
import sys
import time
from pathlib import Path

folder, listen = Path(sys.argv[1]), sys.argv[2]
ports = folder / "ports.json"
for _ in range(600):
    if ports.exists():
        break
    time.sleep(0.1)
azure = json.loads(ports.read_text())


def secret(name, value):
    """A file that its owner alone reads."""
    path = folder / name
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(value)
    return {"file": str(path)}


key = secrets.token_urlsafe(32)
config = {
    "version": 1,
    "listeners": [{"name": "public", "address": listen}],
    "admin": {"socket": str(folder / "admin.sock")},
    "state_dir": str(folder / "state"),
    "identities": {"application": {
        "service_principal": {"tenant_id": azure["tenant"], "client_id": azure["client_id"],
                              "client_secret": secret("client-secret", azure["client_secret"])},
        "cloud": {"authority": azure["entra"], "resource_manager": azure["arm"]},
    }},
    "workspaces": {"ml": {"identity": "application", "subscription_id": azure["subscription"],
                          "resource_group": azure["resource_group"], "name": azure["workspace"]}},
    "endpoints": {"iris": {"service": {"workspace": "ml", "name": "aks-key", "kind": "aks"}}},
    "callers": {"you": {"keys": [secret("caller-key", key)]}},
    "routes": [{"match": {"path_prefix": "/iris"}, "callers": ["you"], "endpoint": "iris"}],
}
(folder / "state").mkdir(mode=0o700, exist_ok=True)
beside = folder / "scoregate.yaml.new"
beside.write_text(json.dumps(config, indent=2))
beside.rename(folder / "scoregate.yaml")
print(f"""try:
    curl http://127.0.0.1:8080/iris -H "Authorization: Bearer {key}" -d '{{"data": [[5.1, 3.5, 1.4, 0.2]]}}'
    curl http://127.0.0.1:8080/iris -d '{{"data": [[5.1, 3.5, 1.4, 0.2]]}}'      # 401: it demands your key, and has the service's own""",
      flush=True)
