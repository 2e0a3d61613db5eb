"""azure-ai-ml: keys, regeneration, tokens and scoring of online endpoints, in both arrangements."""

import json

import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential, DefaultAzureCredential


@pytest.fixture(params=["own address", "Microsoft's names"])
def client(mock, request, monkeypatch):
    if request.param == "own address":
        credential = ClientSecretCredential(
            mock.tenant, mock.client_id, mock.client_secret, authority=mock.entra_tls, disable_instance_discovery=True
        )
        cloud = {
            "cloud": "Emulated",
            "cloud_metadata": {
                "azure_portal": "https://portal.azure.com", "resource_manager": mock.arm_tls + "/",
                "active_directory": mock.entra_tls, "aml_resource_id": "https://ml.azure.com",
                "storage_endpoint": "core.windows.net", "registry_discovery_endpoint": "https://eastus.api.azureml.ms/",
            },
        }
    else:
        request.getfixturevalue("names")
        for name, value in [
            ("TENANT_ID", mock.tenant), ("CLIENT_ID", mock.client_id), ("CLIENT_SECRET", mock.client_secret)
        ]:
            monkeypatch.setenv("AZURE_" + name, value)
        credential, cloud = DefaultAzureCredential(), {}
    monkeypatch.setenv("AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED", "false")
    return MLClient(
        credential, mock.subscription, mock.resource_group, mock.workspace, enable_telemetry=False, **cloud
    )


def test_endpoints_are_listed_and_told(client):
    assert {one.name for one in client.online_endpoints.list()} == {"online-entra", "online-key", "online-token"}
    modes = {name: client.online_endpoints.get(name).auth_mode for name in ["online-key", "online-token", "online-entra"]}
    assert modes == {"online-key": "key", "online-token": "aml_token", "online-entra": "aad_token"}


def test_keys_are_told(mock, client):
    keys = client.online_endpoints.get_keys("online-key")
    assert (keys.primary_key, keys.secondary_key) == mock.keys("online-key")


@pytest.mark.parametrize("slot", ["primary", "secondary"])
def test_a_key_is_regenerated_although_the_library_sends_it_along(mock, client, slot):
    before = mock.keys("online-key")
    client.online_endpoints.begin_regenerate_keys("online-key", key_type=slot).result()
    after, changed = mock.keys("online-key"), 0 if slot == "primary" else 1
    assert after[changed] != before[changed] and after[1 - changed] == before[1 - changed]


def test_a_long_operation_is_waited_for(mock, client):
    mock.order("PUT", "/services/online-key", {"operation": 1.5})
    try:
        before = mock.keys("online-key")
        poller = client.online_endpoints.begin_regenerate_keys("online-key", key_type="primary")
        assert mock.keys("online-key") == before, "it changes at the end"
        poller.result()
        assert mock.keys("online-key")[0] != before[0]
    finally:
        mock.order("PUT", "/services/online-key", {"operation": 0})


def test_a_failed_operation_raises(mock, client):
    mock.order("PUT", "/services/online-key", {"operation_state": "Failed"})
    try:
        with pytest.raises(HttpResponseError):
            client.online_endpoints.begin_regenerate_keys("online-key", key_type="primary").result()
    finally:
        mock.order("PUT", "/services/online-key", {"operation_state": "Succeeded"})


def test_a_token_and_its_times(client):
    token = client.online_endpoints.get_keys("online-token")
    assert token.access_token.count(".") == 2 and token.token_type == "Bearer"
    assert token.expiry_time_utc - token.refresh_after_time_utc == 1800


def test_an_entra_token_for_scoring(client):
    token = client.online_endpoints.get_keys("online-entra")
    assert token.access_token.count(".") == 2


@pytest.mark.parametrize("name", ["online-key", "online-token", "online-entra"])
def test_invoking(mock, client, tmp_path, name):
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]}))
    before = mock.seen(name)["accepted"]
    assert json.loads(client.online_endpoints.invoke(name, request_file=str(request))) == {"result": ["setosa"]}
    assert mock.seen(name)["accepted"] == before + 1


def test_a_role_that_is_missing(mock, client):
    mock.order("PUT", "/services/online-key", {"deny": ["listkeys"]})
    try:
        with pytest.raises(HttpResponseError) as raised:
            client.online_endpoints.get_keys("online-key")
        assert raised.value.status_code == 403 and raised.value.error.code == "AuthorizationFailed"
    finally:
        mock.order("PUT", "/services/online-key", {"deny": []})


def test_an_unknown_endpoint(client):
    with pytest.raises(HttpResponseError) as raised:
        client.online_endpoints.get("nobody")
    assert raised.value.status_code == 404 and raised.value.error.code == "ResourceNotFound"


def test_the_workspace(mock, client):
    workspace = client.workspaces.get(mock.workspace)
    assert workspace.id == mock.workspace_id and workspace.discovery_url.endswith("/discovery")
