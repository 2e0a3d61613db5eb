"""azureml-core, unchanged, against scoregate in front of Microsoft's inference server: scoregate plays ACI and AKS.

Workspace and sign-in are the mock's; `AZUREML_DEV_URL_ASSETS` points at the gate, so that keys and tokens are the gate's own.
"""

import base64
import json
import os
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from azureml.core import Webservice, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
from azureml.core.webservice import AciWebservice, AksWebservice
from azureml.exceptions import WebserviceException

from harness.gate import Gate
from harness.mock import ROOT

INFERENCE_SERVER = Path(os.environ.get("SCOREGATE_INFERENCE_SERVER", ROOT / ".venv/bin/azmlinfsrv"))
FLOWER = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})
SEAL_KEY = "0123456789abcdef0123456789abcdef"
JSON = {"Content-Type": "application/json"}
DEADLINE = 120
# Below the range that Linux gives to outgoing connections.
PORTS = range(12000, 30000)
SCORE = '''
import json

def init():
    pass

def run(data):
    return {"rows": len(json.loads(data)["data"])}
'''


def until(what, look, patience=DEADLINE):
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Microsoft's inference server; its command line takes no port 0."""
    assert INFERENCE_SERVER.exists(), f"{INFERENCE_SERVER} is missing: tests/run makes that environment"
    folder = tmp_path_factory.mktemp("model")
    script = folder / "score.py"
    script.write_text(SCORE)
    for _ in range(10):
        port = random.choice(PORTS)
        with open(folder / "log", "ab") as log:
            process = subprocess.Popen(
                [INFERENCE_SERVER, "--entry_script", script, "--port", str(port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=os.environ | {"HOME": str(folder)},
            )

        def answers():
            if process.poll() is not None:
                return "ended"
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/score", FLOWER.encode(), JSON)
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return "up" if json.load(answer) == {"rows": 1} else "taken"
            except urllib.error.HTTPError:
                return "taken"
            except OSError:
                return None

        if until("the inference server answers", answers) == "up":
            break
        process.terminate()
        process.wait(30)
    else:
        pytest.fail((folder / "log").read_text()[-3000:])
    yield f"http://127.0.0.1:{port}/score"
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def claims(mock, auth):
    """What the mock says of the principal, which is what a manager is named by."""
    payload = auth.get_authentication_header()["Authorization"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.fixture
def auth(mock, names):
    return ServicePrincipalAuthentication(
        tenant_id=mock.tenant, service_principal_id=mock.client_id, service_principal_password=mock.client_secret
    )


@pytest.fixture
def gate(mock, auth, model, tmp_path, monkeypatch):
    """A gate that plays three services for the mock's principal, and one that is somebody else's."""
    who = claims(mock, auth)

    def configure(base):
        def service(name, manager=who["oid"], **more):
            return {"service": {
                "seal_key": {"value": SEAL_KEY},
                "managers": [manager],
                "trust": {
                    "issuer": who["iss"], "audiences": [who["aud"]], "ca": mock.ca_file,
                    "jwks_uri": f"{mock.entra_tls}/{mock.tenant}/discovery/keys",
                },
                "scoring_uri": f"{base}/{name}/score",
            } | more}

        callers = {
            "aks-key": service("aks-key", kind="aks"),
            "aks-token": service("aks-token", kind="aks", auth="token"),
            "aci-key": service("aci-key", kind="aci", auth="key"),
            "aci-open": service("aci-open", kind="aci"),
            "foreign": service("foreign", kind="aks", manager="99999999-9999-4999-8999-999999999999"),
        }
        return {
            "endpoints": {"model": {"upstreams": [model]}},
            "callers": callers,
            "routes": [
                {"match": {"path_prefix": f"/{name}"}, "rewrite": {"path_prefix": "/"}, "callers": [name], "endpoint": "model"}
                for name in callers
            ],
        }

    gate = Gate(tmp_path, configure)
    monkeypatch.setenv("AZUREML_DEV_URL_ASSETS", gate.admin)
    yield gate.base
    gate.stop()
    assert SEAL_KEY not in gate.written()


@pytest.fixture
def workspace(mock, auth, gate):
    return Workspace.get(
        mock.workspace, auth=auth, subscription_id=mock.subscription, resource_group=mock.resource_group
    )


def score(gate, name, value):
    fields = JSON | {"Authorization": f"Bearer {value}"}
    request = urllib.request.Request(f"{gate}/{name}/score", FLOWER.encode(), fields)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_services_are_found_and_somebody_elses_are_not(workspace):
    listed = {one.name: type(one) for one in Webservice.list(workspace)}
    assert listed == {
        "aks-key": AksWebservice, "aks-token": AksWebservice, "aci-key": AciWebservice, "aci-open": AciWebservice,
    }
    service = Webservice(workspace, "aks-token")
    assert (service.auth_enabled, service.token_auth_enabled) == (False, True)
    with pytest.raises(WebserviceException, match="WebserviceNotFound"):
        Webservice(workspace, "foreign")


@pytest.mark.parametrize("name", ["aks-key", "aci-key"])
def test_a_key_is_regenerated_and_whoever_has_the_other_is_not_interrupted(gate, workspace, name):
    service = Webservice(workspace, name)
    primary, secondary = service.get_keys()
    assert service.run(FLOWER) == {"rows": 1}
    assert (score(gate, name, primary), score(gate, name, secondary)) == (200, 200)
    statuses, over = [], threading.Event()

    def go_on():
        while not over.is_set():
            statuses.append(score(gate, name, secondary))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        service.regen_key("Primary")
    finally:
        over.set()
        thread.join()
    assert len(statuses) > 10 and set(statuses) == {200}
    renewed, same = service.get_keys()
    assert renewed != primary and same == secondary
    assert (score(gate, name, primary), score(gate, name, renewed)) == (401, 200)
    assert service.run(FLOWER) == {"rows": 1}
    service.regen_key("Secondary", set_key="a-key-of-my-own-0123456789")
    assert service.get_keys() == (renewed, "a-key-of-my-own-0123456789")
    assert (score(gate, name, secondary), score(gate, name, "a-key-of-my-own-0123456789")) == (401, 200)


def test_a_token_scores_until_its_end(gate, workspace):
    service, now = Webservice(workspace, "aks-token"), time.time()
    token, refresh_by = service.get_token()
    access = service.get_access_token()
    assert abs(refresh_by.timestamp() - now - 1_800) < 60
    assert abs(access.expiry_on.timestamp() - now - 3_600) < 60
    assert service.run(FLOWER) == {"rows": 1}
    assert score(gate, "aks-token", token) == 200
    assert score(gate, "aks-key", token) == 401
    with pytest.raises(Exception):
        service.get_keys()


def test_an_open_service_needs_nothing(workspace):
    assert Webservice(workspace, "aci-open").run(FLOWER) == {"rows": 1}
