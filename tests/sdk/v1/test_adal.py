"""adal, whose wire is the version 1 token endpoint."""

import hashlib
import ssl

import adal
import jwt
import pytest

ARM = "https://management.azure.com/"


@pytest.fixture
def context(mock):
    return adal.AuthenticationContext(mock.authority, validate_authority=False)


def claims(token):
    return jwt.decode(token, options={"verify_signature": False})


def thumbprint(path):
    return hashlib.sha1(ssl.PEM_cert_to_DER_cert(open(path).read())).hexdigest()


def test_a_client_secret(mock, context):
    token = context.acquire_token_with_client_credentials(ARM, mock.client_id, mock.client_secret)
    assert token["tokenType"] == "Bearer" and token["resource"] == ARM and token["expiresIn"] == 3599
    said = claims(token["accessToken"])
    assert (said["aud"], said["tid"], said["appid"]) == (ARM, mock.tenant, mock.client_id)


def test_a_wrong_secret(mock, context):
    with pytest.raises(adal.AdalError) as raised:
        context.acquire_token_with_client_credentials(ARM, mock.client_id, "wrong")
    assert raised.value.error_response["error"] == "invalid_client"
    assert raised.value.error_response["error_codes"] == [7000215]


def test_a_certificate(mock, context):
    cert = mock.certificate
    key = open(cert["key"]).read()
    token = context.acquire_token_with_client_certificate(ARM, mock.client_id, key, thumbprint(cert["cert"]))
    assert claims(token["accessToken"])["appidacr"] == "2"


def test_another_certificate(mock, context):
    key = open(mock.certificate["key"]).read()
    with pytest.raises(adal.AdalError) as raised:
        context.acquire_token_with_client_certificate(ARM, mock.client_id, key, "00" * 20)
    assert raised.value.error_response["error_codes"] == [700027]


def test_a_device_code_and_a_refresh(mock, context):
    code = context.acquire_user_code(ARM, mock.public_client_id)
    assert code["verification_url"].endswith("/devicelogin") and code["user_code"] in code["message"]
    assert mock.approve_devices() >= 1
    token = context.acquire_token_with_device_code(ARM, code, mock.public_client_id)
    assert token["userId"] == mock.user["name"] and claims(token["accessToken"])["scp"] == "user_impersonation"
    again = context.acquire_token_with_refresh_token(token["refreshToken"], mock.public_client_id, ARM)
    assert again["accessToken"] != token["accessToken"]


def test_a_device_code_expires(mock, context):
    code = context.acquire_user_code(ARM, mock.public_client_id)
    mock.order("PUT", "/clock", {"offset": 1000})
    with pytest.raises(adal.AdalError) as raised:
        context.acquire_token_with_device_code(ARM, code, mock.public_client_id)
    assert raised.value.error_response["error_codes"] == [70019]


def test_an_unknown_resource_and_the_request_s_id_comes_back(mock):
    context = adal.AuthenticationContext(mock.authority, validate_authority=False)
    context.correlation_id = "11111111-2222-4333-8444-555555555555"
    with pytest.raises(adal.AdalError) as raised:
        context.acquire_token_with_client_credentials("https://nobody.example/", mock.client_id, mock.client_secret)
    assert raised.value.error_response["correlation_id"] == context.correlation_id
    assert raised.value.error_response["error"] == "invalid_resource"


def test_microsofts_name_needs_no_option(mock, names):
    context = adal.AuthenticationContext(f"https://login.microsoftonline.com/{mock.tenant}")
    token = context.acquire_token_with_client_credentials(ARM, mock.client_id, mock.client_secret)
    assert claims(token["accessToken"])["aud"] == ARM
