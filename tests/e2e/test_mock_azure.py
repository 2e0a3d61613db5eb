"""Microsoft's inference server behind a front end of mock-azure, and the built-in model beside it."""

import json
import subprocess

import pytest
import requests

from harness.gate import BINARY, environment
from harness.model_server import SCORE, ModelServer
from harness.until import until

PATIENCE = 20


@pytest.fixture
def mock(tmp_path, model):
    """The container stands behind `aks-key`; behind `aks-token` and the others is the built-in model."""
    ports = tmp_path / "ports.json"
    process = subprocess.Popen(
        [BINARY, "mock-azure", "--port-file", ports, "--backend", f"aks-key={model.url()}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment(),
    )
    try:
        until(ports.exists, "mock-azure listens", patience=PATIENCE)
        yield json.loads(ports.read_text())
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def key(mock, service):
    return requests.get(f"{mock['admin']}/services/{service}", timeout=PATIENCE).json()["keys"]["primaryKey"]


def test_a_real_container_answers_behind_a_front_end(mock, model):
    question = {"data": [[5.1, 3.5, 1.4, 0.2]]}
    [uri, *_] = mock["scoring"]["aks-key"]
    direct = requests.post(model.url(), json=question, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {key(mock, 'aks-key')}"}
    behind = requests.post(uri, json=question, headers=headers, timeout=PATIENCE)
    assert (behind.status_code, behind.content) == (200, direct.content)
    assert "x-ms-run-fn-exec-ms" in behind.headers
    refused = requests.post(uri, json=question, headers={"Authorization": "Bearer wrong"}, timeout=PATIENCE)
    assert refused.status_code == 401 and "x-ms-run-fn-exec-ms" not in refused.headers


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The server around a `run` that is not decorated, as most are."""
    with ModelServer(tmp_path_factory.mktemp("usual"), SCORE.with_name("undecorated.py")) as server:
        yield server


def told(base, method, path, body, headers):
    """What an answer says that callers go by: status, what ran and whose request it was, and the shape of its body."""
    answer = requests.request(method, base + path, data=body, headers=headers, timeout=PATIENCE)
    ids = {name: answer.headers.get(name) for name in ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"]}
    if "x-request-id" not in headers and (made := ids["x-request-id"]):
        # One that the server made up differs each time.
        ids = {name: "made up" if value == made else value for name, value in ids.items()}
    kind = answer.headers.get("content-type", "").split(";")[0]
    shape = answer.json() if kind == "application/json" else None
    shape = sorted(shape) if isinstance(shape, dict) else shape
    failed, ran = answer.headers.get("x-ms-run-function-failed"), "x-ms-run-fn-exec-ms" in answer.headers
    return {"status": answer.status_code, "ids": ids, "failed": failed, "ran": ran, "body": shape}


@pytest.mark.parametrize(
    "method, path, body, headers",
    [
        ("POST", "/score", b'{"data": [[5.1, 3.5, 1.4, 0.2]]}', {}),
        ("OPTIONS", "/score", None, {}),
        ("DELETE", "/score", None, {}),
        ("GET", "/", None, {}),
        ("POST", "/", None, {}),
        ("GET", "/nothing", None, {}),
        ("GET", "/swagger.json?version=9", None, {}),
        ("POST", "/score", b"\xff", {}),
        ("OPTIONS", "/score", None, {"x-request-id": "r" * 101}),
        ("OPTIONS", "/score", None, {"x-request-id": "r", "x-ms-client-request-id": "c" * 101}),
        ("OPTIONS", "/score", None, {"x-ms-request-id": "l"}),
        ("OPTIONS", "/score", None, {"x-ms-request-id": "l", "x-ms-client-request-id": "c"}),
        ("OPTIONS", "/score", None, {"x-request-id": "r", "x-ms-client-request-id": "c"}),
    ],
)
def test_the_built_in_model_answers_as_the_real_server_does(mock, usual, method, path, body, headers):
    own = mock["scoring"]["aci-open"][0].removesuffix("/score")
    assert told(own, method, path, body, headers) == told(usual.url(""), method, path, body, headers)
