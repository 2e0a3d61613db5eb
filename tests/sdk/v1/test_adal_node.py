"""adal-node, with which Azure's guide shows Node.js programs how to sign in."""

import json
import os
import subprocess
from pathlib import Path

import jwt

NODE = Path(__file__).resolve().parents[1] / "node"


def node(mock, script, *arguments):
    return subprocess.Popen(
        ["node", NODE / script, *arguments],
        env=os.environ | {"NODE_EXTRA_CA_CERTS": mock.ca_file, "NODE_NO_WARNINGS": "1"},
        stdout=subprocess.PIPE, text=True,
    )


def told(process):
    output, _ = process.communicate(timeout=60)
    return json.loads(output.splitlines()[-1])


def test_the_guide_s_example(mock):
    token = told(node(mock, "service_principal.js", mock.entra_tls, mock.tenant, mock.client_id, mock.client_secret))
    assert token["tokenType"] == "Bearer" and token["resource"] == "https://management.azure.com/"
    claims = jwt.decode(token["accessToken"], options={"verify_signature": False})
    assert (claims["appid"], claims["tid"]) == (mock.client_id, mock.tenant)


def test_a_wrong_secret(mock):
    token = told(node(mock, "service_principal.js", mock.entra_tls, mock.tenant, mock.client_id, "wrong"))
    assert "7000215" in token["error"]


def test_a_device_code_and_a_refresh(mock):
    process = node(mock, "device_code.js", mock.entra_tls, mock.tenant, mock.public_client_id)
    codes = json.loads(process.stdout.readline())
    assert codes["userCode"] in codes["message"] and codes["verificationUrl"].endswith("/devicelogin")
    mock.order("POST", f"/devicecode/{codes['userCode']}/approve")
    assert told(process) == {"userId": mock.user["name"], "changed": True}
