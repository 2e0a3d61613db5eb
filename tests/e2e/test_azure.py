"""The whole road: service principal, workspace, service by name, its keys, and a request through the gate to Microsoft's inference
server behind a front end of mock-azure, on AKS's path. Every secret is one of ours, so that it would be found in what anybody says."""

import json
import re
import subprocess
from collections import namedtuple

import pytest
import requests

from harness import secrets
from harness.gate import BINARY, command, environment
from harness.until import until

PATIENCE = 20
QUESTION = {"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
AKS_PATH = "/api/v1/service/iris"


class Azure:
    """mock-azure with the container behind `iris`, an AKS service that asks for a key; beside it one that asks for a token."""

    def __init__(self, folder, model):
        self.folder = folder
        self.secret, self.keys = secrets.key(), [secrets.key(), secrets.key()]
        self.client = "66666666-7777-8888-9999-000000000000"
        fixture = {
            "workspace": "road", "resource_group": "models",
            "application": {"client_id": self.client, "client_secret": self.secret, "role": "contributor"},
            "services": {
                "iris": {
                    "kind": "aks", "auth": "key", "primary_key": self.keys[0], "secondary_key": self.keys[1], "backend": model.url(),
                },
                "wine": {"kind": "aks", "auth": "token"},
            },
        }
        (folder / "fixture.json").write_text(json.dumps(fixture))
        self.process = subprocess.Popen(
            [BINARY, "mock-azure", "--tls", "--fixture", "fixture.json", "--port-file", "ports.json"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment(),
        )
        until((folder / "ports.json").exists, "mock-azure listens", patience=PATIENCE)
        self.ports = json.loads((folder / "ports.json").read_text())

    def end(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def seen(self):
        return requests.get(f"{self.ports['admin']}/seen", timeout=PATIENCE).json()


@pytest.fixture
def azure(tmp_path, model):
    folder = tmp_path / "azure"
    folder.mkdir()
    azure = Azure(folder, model)
    try:
        yield azure
    finally:
        azure.end()


@pytest.fixture
def config(azure, tmp_path, caller_key):
    """What somebody writes who has a principal, a workspace's config.json and the name of a service: no URI and no key."""
    ports = azure.ports
    (tmp_path / "principal").write_text(azure.secret)
    (tmp_path / "caller").write_text(caller_key)
    for file in ("principal", "caller"):
        (tmp_path / file).chmod(0o600)
    named = {
        "subscription_id": ports["subscription"], "resource_group": ports["resource_group"], "workspace_name": ports["workspace"],
    }
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml/config.json").write_text(json.dumps(named))
    principal = {"tenant_id": ports["tenant"], "client_id": ports["client_id"], "client_secret": {"file": str(tmp_path / "principal")}}
    cloud = {"authority": ports["entra_tls"], "resource_manager": ports["arm_tls"], "ca": ports["ca_file"]}
    return {
        "listeners": [{"name": "local", "address": "127.0.0.1:0"}],
        "identities": {"default": {"service_principal": principal, "cloud": cloud}},
        # A folder is searched upwards, as the SDK does it.
        "workspaces": {"road": {"identity": "default", "config_file": str(azure.folder)}},
        "endpoints": {
            name: {"service": {"workspace": "road", "name": name, "kind": "aks"}} for name in ("iris", "wine")
        },
        "callers": {"team": {"keys": [{"file": str(tmp_path / "caller")}]}},
        "routes": [
            # Who knows AKS's address changes the host and the key; and the short form.
            {"match": {"path_prefix": AKS_PATH}, "rewrite": {"path_prefix": "/"}, "callers": ["team"], "endpoint": "iris"},
            {"match": {"path_prefix": "/iris"}, "callers": ["team"], "endpoint": "iris"},
            {"match": {"path_prefix": "/wine"}, "callers": ["team"], "endpoint": "wine"},
        ],
    }


def succeeds(*arguments):
    done = command(*arguments)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    assert "eyJ" not in done.stdout + done.stderr, f"a token is in what `{arguments[0]}` says"
    return done.stdout


Asked = namedtuple("Asked", "status body headers")


def test_from_a_principal_to_a_scored_request(azure, model, config, gate, caller_key):
    # Before the gate runs: everything that an operator would look at.
    running = gate(config, start=False)
    running.write()
    file = ["-c", running.file]
    assert "ok" in succeeds("check", *file)
    checked = succeeds("check", "--online", *file)
    assert f"identity default: signed in as application {azure.client}" in checked
    assert f"endpoint iris: AKS service iris scores at http://127.0.0.1:" in checked and f"{AKS_PATH}/score, auth key" in checked
    assert checked.count("the service accepts the credential, and refuses a wrong one") == 2
    assert not re.search("^(PROBLEM|warning)", checked, re.M), checked

    [workspace] = json.loads(succeeds("workspace", "show", "--output", "json", *file))
    assert workspace["id"].endswith("/resourceGroups/models/providers/Microsoft.MachineLearningServices/workspaces/road")
    token = json.loads(succeeds("token", "wine", "--output", "json", *file))
    assert token["refresh_by_unix"] < token["expires_unix"] and "access_token" not in token
    keys = json.loads(succeeds("keys", "show", "iris", "--output", "json", *file))
    fingerprints = [slot["fingerprint"] for slot in keys["slots"]]

    # The gate, and the very answer of the container.
    running.start()
    until(lambda: running.probe("/readyz")[0] == 200, "every service is found")
    [iris, wine] = running.status()["endpoints"]
    assert [slot["fingerprint"] for slot in iris["slots"]] == fingerprints
    before = azure.seen()
    direct = requests.post(model.url(), json=QUESTION, timeout=PATIENCE)

    def ask(method, path, key=caller_key, **more):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"http://127.0.0.1:{running.port()}{path}"
        answer = requests.request(method, url, headers=headers, timeout=PATIENCE, **more)
        return Asked(answer.status_code, answer.content, answer.headers)

    for path in (f"{AKS_PATH}/score", "/iris"):
        scored = ask("POST", path, json=QUESTION)
        assert (scored.status, scored.body) == (200, direct.content), scored
        assert "x-ms-run-fn-exec-ms" in scored.headers and scored.headers["x-model"] == "iris"
    for path in (f"{AKS_PATH}/swagger.json", "/iris/swagger.json"):
        described = ask("GET", path)
        assert described.status == 200 and json.loads(described.body)["swagger"] == "2.0", described
    assert ask("POST", "/wine", json=QUESTION).status == 200
    # What goes wrong inside the model is the model's, and passed on.
    failed = ask("POST", "/iris", json={"fail": True})
    assert failed.status == 500 and failed.headers["x-ms-run-function-failed"] == "True", failed

    # No key of the service's lets anybody in, nor does none at all; and neither reaches the service.
    for key in (azure.keys[0], None):
        assert ask("POST", f"{AKS_PATH}/score", key, json=QUESTION).status == 401
    seen = requests.get(f"{azure.ports['admin']}/seen", params={"since": before["at"]}, timeout=PATIENCE).json()["services"]
    assert (seen["iris"]["accepted"], seen["iris"]["refused"]) == (5, 0), seen["iris"]
    assert seen["iris"]["by_value"] == [{"slot": "Primary", "age": 0, "accepted": 5, "refused": 0}]
    assert (seen["wine"]["accepted"], seen["wine"]["tokens"]) == (1, {"fresh": 1})

    # While a gate runs, keys are not changed behind its back.
    refused = command("keys", "regen", "iris", "primary", "--yes", *file)
    assert refused.returncode == 5 and "nothing was touched" in refused.stderr
    assert "eyJ" not in running.stderr() + running.stdout(), "a token is in the log"
    # The fixture looks for keys in all of that once the gate has ended.


def test_a_key_is_changed_by_hand_as_the_readme_says(azure, config, gate, caller_key):
    """`active: secondary`, drained reload; the primary key is regenerated in the portal; reload; and back."""
    running = gate(config)
    until(lambda: running.probe("/readyz")[0] == 200, "every service is found")

    def scores():
        headers = {"Authorization": f"Bearer {caller_key}"}
        url = f"http://127.0.0.1:{running.port()}/iris"
        return requests.post(url, json=QUESTION, headers=headers, timeout=PATIENCE).status_code

    def slots():
        return {slot["slot"]: slot for slot in running.status()["endpoints"][0]["slots"]}

    assert scores() == 200 and slots()["primary"]["active"]
    old = slots()["primary"]["fingerprint"]
    running.config["endpoints"]["iris"]["active"] = "secondary"
    running.write()
    running.reload("--drained")
    assert scores() == 200 and slots()["secondary"]["active"]

    order = {"key": "Primary", "value": secrets.key()}
    requests.post(f"{azure.ports['admin']}/services/iris/regenerate", json=order, timeout=PATIENCE).raise_for_status()
    assert scores() == 200
    running.reload()
    until(lambda: slots()["primary"]["fingerprint"] != old, "the new key is read")

    running.config["endpoints"]["iris"]["active"] = "primary"
    running.write()
    running.reload("--drained")
    assert scores() == 200 and slots()["primary"]["active"]
    seen = azure.seen()["services"]["iris"]
    assert seen["refused"] == 0 and seen["outside_regenerations"] == 1, seen
