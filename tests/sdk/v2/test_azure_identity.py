"""azure-identity: every credential that scoregate's users have."""

import os
import threading

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    DeviceCodeCredential,
    EnvironmentCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

ARM = "https://management.azure.com/.default"
ML = "https://ml.azure.com/.default"


@pytest.fixture
def own(mock):
    """What a client outside Microsoft's names needs."""
    return {"authority": mock.entra_tls, "disable_instance_discovery": True}


def claims(token):
    return jwt.decode(token.token, options={"verify_signature": False})


@pytest.fixture
def environment(monkeypatch):
    def change(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return change


@pytest.mark.parametrize("scope, audience", [(ARM, ARM.removesuffix("/.default")), (ML, "https://ml.azure.com")])
def test_a_client_secret(mock, own, scope, audience):
    credential = ClientSecretCredential(mock.tenant, mock.client_id, mock.client_secret, **own)
    said = claims(credential.get_token(scope))
    assert (said["aud"], said["appid"]) == (audience, mock.client_id)


def test_a_wrong_secret(mock, own):
    with pytest.raises(ClientAuthenticationError, match="7000215"):
        ClientSecretCredential(mock.tenant, mock.client_id, "wrong", **own).get_token(ARM)


def test_a_certificate(mock, own, tmp_path):
    both = tmp_path / "both.pem"
    both.write_text(open(mock.certificate["cert"]).read() + open(mock.certificate["key"]).read())
    credential = CertificateCredential(mock.tenant, mock.client_id, str(both), **own)
    assert claims(credential.get_token(ARM))["appidacr"] == "2"


def test_the_environment(mock, environment):
    environment(
        AZURE_TENANT_ID=mock.tenant, AZURE_CLIENT_ID=mock.client_id, AZURE_CLIENT_SECRET=mock.client_secret,
        AZURE_AUTHORITY_HOST=mock.entra_tls + "/",
    )
    credential = EnvironmentCredential(disable_instance_discovery=True)
    assert claims(credential.get_token(ARM))["appid"] == mock.client_id


def test_workload_identity(mock, environment):
    environment(
        AZURE_TENANT_ID=mock.tenant, AZURE_CLIENT_ID=mock.client_id, AZURE_AUTHORITY_HOST=mock.entra_tls + "/",
        AZURE_FEDERATED_TOKEN_FILE=mock.federated_token_file,
    )
    credential = WorkloadIdentityCredential(disable_instance_discovery=True)
    assert claims(credential.get_token(ARM))["appid"] == mock.client_id


def test_an_assertion_of_ones_own(mock, own):
    credential = ClientAssertionCredential(mock.tenant, mock.client_id, lambda: mock.federated_token, **own)
    assert claims(credential.get_token(ARM))["appidacr"] == "2"


def test_a_device_code(mock, own):
    approve = lambda _uri, user_code, _expires: mock.order("POST", f"/devicecode/{user_code}/approve")  # noqa: E731
    credential = DeviceCodeCredential(tenant_id=mock.tenant, prompt_callback=approve, **own)
    assert claims(credential.get_token(ARM))["upn"] == mock.user["name"]


def test_a_person_approves_while_the_device_asks(mock, own):
    """The device polls and is told to wait before the person is there."""
    before = mock.seen()["calls"]["entra"].get("token:device_code", 0)
    mock.order("PUT", "/entra", {"device_interval": 1})

    def prompt(_uri, user_code, _expires):
        def person():
            while mock.seen()["calls"]["entra"].get("token:device_code", 0) == before:
                pass
            mock.order("POST", f"/devicecode/{user_code}/approve")

        threading.Thread(target=person, daemon=True).start()

    try:
        credential = DeviceCodeCredential(tenant_id=mock.tenant, prompt_callback=prompt, **own)
        assert claims(credential.get_token(ARM))["upn"] == mock.user["name"]
    finally:
        mock.order("PUT", "/entra", {"device_interval": 5})
    assert mock.seen()["calls"]["entra"]["token:device_code"] >= before + 2


def managed(mock, environment, form):
    if form == "imds":
        environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=mock.imds)
    elif form == "app_service":
        environment(IDENTITY_ENDPOINT=mock.imds + mock.app_service_path, IDENTITY_HEADER=mock.identity_header)
    else:
        environment(MSI_ENDPOINT=mock.imds + mock.msi_path, MSI_SECRET=mock.msi_secret)


@pytest.mark.parametrize("form", ["imds", "app_service", "msi"])
def test_managed_identity(mock, environment, form):
    before = mock.seen()["calls"]["imds"].get(form, 0)
    managed(mock, environment, form)
    said = claims(ManagedIdentityCredential().get_token(ML))
    assert said["aud"] == "https://ml.azure.com" and said["idtyp"] == "app"
    assert mock.seen()["calls"]["imds"][form] > before


def test_managed_identity_by_its_client_id(mock, environment):
    managed(mock, environment, "imds")
    known = ManagedIdentityCredential(client_id="c11e4700-0000-4000-8000-000000000003")
    assert claims(known.get_token(ARM))["appid"] == "c11e4700-0000-4000-8000-000000000003"
    with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
        ManagedIdentityCredential(client_id="somebody-else").get_token(ARM)


def test_cloud_shell(mock, environment):
    environment(MSI_ENDPOINT=mock.imds + mock.msi_path)
    assert claims(ManagedIdentityCredential().get_token(ARM))["aud"] == "https://management.azure.com"


def test_a_wrong_identity_header(mock, environment):
    environment(IDENTITY_ENDPOINT=mock.imds + mock.app_service_path, IDENTITY_HEADER="wrong")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(ARM)


def test_the_default_credential_under_microsofts_names(mock, names, environment):
    environment(
        AZURE_TENANT_ID=mock.tenant, AZURE_CLIENT_ID=mock.client_id, AZURE_CLIENT_SECRET=mock.client_secret
    )
    assert claims(DefaultAzureCredential().get_token(ARM))["appid"] == mock.client_id
    assert set(names) == {"login.microsoftonline.com"}
    assert "AZURE_AUTHORITY_HOST" not in os.environ
