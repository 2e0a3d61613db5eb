"""azureml-core against the mock under Microsoft's names, with no option set."""

import json
import time

import pytest
from azureml.core import Webservice, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
from azureml.exceptions import WebserviceException

FLOWER = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})


@pytest.fixture
def auth(mock, names):
    return ServicePrincipalAuthentication(
        tenant_id=mock.tenant, service_principal_id=mock.client_id, service_principal_password=mock.client_secret
    )


@pytest.fixture
def workspace(mock, auth):
    return Workspace.get(
        mock.workspace, auth=auth, subscription_id=mock.subscription, resource_group=mock.resource_group
    )


def test_a_workspace_by_service_principal(mock, workspace):
    assert (workspace.name, workspace.location) == (mock.workspace, "eastus")
    assert workspace.get_details()["id"] == mock.workspace_id


def test_a_workspace_from_its_config_file(mock, auth, tmp_path):
    folder = tmp_path / ".azureml"
    folder.mkdir()
    names = {"subscription_id": mock.subscription, "resource_group": mock.resource_group}
    (folder / "config.json").write_text(json.dumps(names | {"workspace_name": mock.workspace}))
    assert Workspace.from_config(path=str(tmp_path), auth=auth).name == mock.workspace


def test_another_subscription_is_refused(mock, auth):
    with pytest.raises(Exception, match="(?i)subscription"):
        Workspace.get("x", auth=auth, subscription_id="11111111-1111-4111-8111-111111111111", resource_group="x")


def test_a_wrong_secret_is_refused(mock, names):
    wrong = ServicePrincipalAuthentication(mock.tenant, mock.client_id, "wrong")
    with pytest.raises(Exception, match="7000215|invalid_client"):
        Workspace.get(
            mock.workspace, auth=wrong, subscription_id=mock.subscription, resource_group=mock.resource_group
        )


def test_services_are_listed(workspace):
    listed = {one.name: one for one in Webservice.list(workspace)}
    assert set(listed) == {"aci-key", "aci-open", "aks-key", "aks-token"}
    assert {name: one.compute_type for name, one in listed.items()} == {
        "aci-key": "ACI", "aci-open": "ACI", "aks-key": "AKS", "aks-token": "AKS",
    }
    assert [one.name for one in Webservice.list(workspace, compute_type="ACI")] == ["aci-key", "aci-open"]
    assert Webservice.list(workspace, tags=[["mock", "other"]]) == []


def test_what_a_service_asks_for_is_told(workspace):
    service = Webservice(workspace, "aks-token")
    assert (service.auth_enabled, service.token_auth_enabled) == (False, True)
    service = Webservice(workspace, "aks-key")
    assert (service.auth_enabled, service.token_auth_enabled) == (True, False)
    assert service.swagger_uri == service.scoring_uri.replace("/score", "/swagger.json")


def test_an_unknown_service_is_not_found(workspace):
    with pytest.raises(WebserviceException, match="WebserviceNotFound"):
        Webservice(workspace, "nobody")


def test_keys_are_told(mock, workspace):
    assert Webservice(workspace, "aks-key").get_keys() == mock.keys("aks-key")


@pytest.mark.parametrize("name", ["aci-key", "aks-key"])
def test_a_key_is_regenerated_and_the_other_left_alone(mock, workspace, name):
    service, before = Webservice(workspace, name), mock.keys(name)
    service.regen_key("primary")
    after = service.get_keys()
    assert after[0] != before[0] and after[1] == before[1]
    assert after == mock.keys(name)


def test_a_key_of_ones_own_is_kept(mock, workspace):
    service, before = Webservice(workspace, "aci-key"), mock.keys("aci-key")
    service.regen_key("Secondary", set_key="a key of my own")
    assert service.get_keys() == (before[0], "a key of my own")


def test_a_failed_regeneration_raises(mock, workspace):
    mock.order("PUT", "/services/aks-key", {"operation_state": "Failed"})
    try:
        before = mock.keys("aks-key")
        with pytest.raises(WebserviceException):
            Webservice(workspace, "aks-key").regen_key("Primary")
        assert mock.keys("aks-key") == before
    finally:
        mock.order("PUT", "/services/aks-key", {"operation_state": "Succeeded"})


def test_a_token_and_when_to_refresh_it(workspace):
    service, now = Webservice(workspace, "aks-token"), time.time()
    token, _refresh_by = service.get_token()
    access = service.get_access_token()
    assert token.count(".") == 2 and access.token_type == "Bearer"
    # Naive local datetimes, as the library makes them.
    assert abs(access.refresh_after.timestamp() - now - 43_200) < 60
    assert abs(access.expiry_on.timestamp() - now - 86_400) < 60


def test_a_service_without_tokens_gives_none(workspace):
    with pytest.raises(Exception):
        Webservice(workspace, "aks-key").get_token()


@pytest.mark.parametrize("name", ["aci-key", "aci-open", "aks-key", "aks-token"])
def test_scoring(mock, workspace, name):
    before = mock.seen(name)["accepted"]
    assert Webservice(workspace, name).run(FLOWER) == {"result": ["setosa"]}
    assert mock.seen(name)["accepted"] == before + 1


def test_the_library_fetches_the_key_again_after_a_401(mock, workspace):
    """It reads a stale key, is refused, reads again and gets the new one: no more than one refusal."""
    service, before = Webservice(workspace, "aks-key"), mock.seen("aks-key")
    mock.order("PUT", "/services/aks-key", {"stale_listkeys": 0.3})
    try:
        mock.order("POST", "/services/aks-key/regenerate", {"key": "Primary"})
        # The second reading must find the new key: a scoring that is refused takes a little longer than the staleness.
        mock.order("PUT", "/faults", {"target": "scoring", "kind": "slow", "delay": 0.5, "service": "aks-key", "count": 1})
        assert service.run(FLOWER) == {"result": ["setosa"]}
    finally:
        mock.order("PUT", "/services/aks-key", {"stale_listkeys": 0})
    assert mock.seen("aks-key")["refused"] == before["refused"] + 1


def test_only_microsofts_own_names_were_asked(workspace, names):
    assert set(names) <= {"login.microsoftonline.com", "management.azure.com"}, names
