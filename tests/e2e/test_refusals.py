"""A 401 of the model's own is the caller's: passed on as it is, one run each, nothing sent again, nothing read anew."""

from pathlib import Path

import pytest

from harness import http1, http2, secrets
from harness.model_server import ModelServer

# What becomes of each way; raising ends in the server's own 500, which says that the model ran.
WAYS = {"flask": (401, b"not you"), "aml": (401, b"not you"), "raise": (500, None)}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    with ModelServer(tmp_path_factory.mktemp("refusing"), Path(__file__).parent / "model/refusing.py") as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", [http1, http2])
def test_the_models_own_401_is_passed_on_after_one_run(client, way, refusing, gate, config, caller_key, service_key):
    made = config(refusing.url())
    other = service_key.with_name("other-key")
    other.write_text(secrets.key())
    other.chmod(0o600)
    # As for AKS: what its front end refuses is sent again with the other key.
    made["endpoints"]["model"] |= {"replay": "on"}
    made["endpoints"]["model"]["keys"]["secondary"] = {"file": str(other)}
    running = gate(made)
    headers = [("authorization", f"Bearer {caller_key}")]

    def runs():
        with http1.Connection(refusing.port) as direct:
            return int(direct.request("GET", "/score?way=count").body)

    before = runs()
    with client.Connection(running.port()) as connection:
        answer = connection.request("POST", f"/score?way={way}", headers, b"{}")
    status, body = WAYS[way]
    assert int(answer.status) == status
    told = answer.body if client is http1 else answer.content
    assert body in (None, told)
    assert answer.header("server") != "scoregate" and answer.header("x-ms-run-fn-exec-ms" if body else "x-ms-run-function-failed")
    assert runs() == before + 1
    for name in ("replays_total", "upstream_rejections_total", "replay_skipped_total"):
        assert running.metric(f"scoregate_{name}") == 0
