"""msal: every flow of the version 2 endpoint, at the mock's own address and under Microsoft's name."""

import json
import re
import ssl
import threading
import urllib.parse
from hashlib import sha1, sha256

import jwt
import msal
import pytest
import requests

SCOPE = ["https://management.azure.com/.default"]
CLASSIC = ["https://management.core.windows.net//.default"]


def claims(result):
    assert "access_token" in result, result
    return jwt.decode(result["access_token"], options={"verify_signature": False})


def confidential(mock, credential):
    return msal.ConfidentialClientApplication(
        mock.client_id, credential, authority=mock.authority, instance_discovery=False
    )


@pytest.fixture
def public(mock):
    return msal.PublicClientApplication(mock.public_client_id, authority=mock.authority, instance_discovery=False)


def certificate(mock, **more):
    cert = open(mock.certificate["cert"]).read()
    return {"private_key": open(mock.certificate["key"]).read(), "public_certificate": cert} | more


def sign_in(mock, url, **more):
    """What a person does in a browser: opens the page, and sends its form. Gives where the browser is sent."""
    page = requests.get(url, timeout=20)
    assert page.status_code == 200 and "<form" in page.text
    form = {"username": mock.user["name"], "password": mock.user["password"], "decision": "approve"} | more
    answer = requests.post(url, data=form, allow_redirects=False, timeout=20)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def test_a_secret(mock):
    result = confidential(mock, mock.client_secret).acquire_token_for_client(SCOPE)
    said = claims(result)
    assert said["aud"] == "https://management.azure.com" and said["appidacr"] == "1"
    assert result["expires_in"] == 3599 and "refresh_token" not in result


def test_an_audience_keeps_its_slash(mock):
    result = confidential(mock, mock.client_secret).acquire_token_for_client(CLASSIC)
    assert claims(result)["aud"] == "https://management.core.windows.net/"


def test_a_signature_can_be_checked_with_the_published_keys(mock):
    token = confidential(mock, mock.client_secret).acquire_token_for_client(SCOPE)["access_token"]
    document = requests.get(f"{mock.authority}/v2.0/.well-known/openid-configuration", timeout=20).json()
    keys = jwt.PyJWKSet.from_dict(requests.get(document["jwks_uri"], timeout=20).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["RS256"], audience="https://management.azure.com")["tid"] == mock.tenant


def test_a_wrong_secret(mock):
    result = confidential(mock, "wrong").acquire_token_for_client(SCOPE)
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])


def test_a_certificate(mock):
    credential = certificate(mock, thumbprint=sha1(der(mock)).hexdigest())
    assert claims(confidential(mock, credential).acquire_token_for_client(SCOPE))["appidacr"] == "2"


def der(mock):
    return ssl.PEM_cert_to_DER_cert(open(mock.certificate["cert"]).read())


def test_a_certificate_by_its_sha256(mock):
    """Without a SHA-1 thumbprint msal signs PS256 and names the certificate by x5t#S256."""
    assertions = []

    class Watching(requests.Session):
        def post(self, url, data=None, **more):
            assertions.append(urllib.parse.parse_qs(data)["client_assertion"][0] if isinstance(data, str) else data["client_assertion"])
            return super().post(url, data=data, **more)

    session = Watching()
    app = msal.ConfidentialClientApplication(
        mock.client_id, certificate(mock), authority=mock.authority, instance_discovery=False, http_client=session
    )
    assert claims(app.acquire_token_for_client(SCOPE))["appidacr"] == "2"
    header = jwt.get_unverified_header(assertions[0])
    assert header["alg"] == "PS256" and "x5t#S256" in header
    assert jwt.utils.base64url_decode(header["x5t#S256"]) == sha256(der(mock)).digest()


def test_a_federated_assertion(mock):
    app = confidential(mock, {"client_assertion": mock.federated_token})
    assert claims(app.acquire_token_for_client(SCOPE))["appid"] == mock.client_id


@pytest.mark.parametrize(
    "wrong, code",
    [({"issuer": "https://x/"}, 700211), ({"subject": "x"}, 700213), ({"audience": "x"}, 700212), ({"lifetime": 0}, 700024)],
)
def test_a_federated_assertion_of_somebody_else(mock, wrong, code):
    assertion = mock.order("POST", "/federated_token", wrong)["federated_token"]
    if "lifetime" in wrong:
        mock.order("PUT", "/clock", {"offset": 600})
    result = confidential(mock, {"client_assertion": assertion}).acquire_token_for_client(SCOPE)
    assert (result["error"], result["error_codes"]) == ("invalid_client", [code])


def test_a_device_code(mock, public):
    flow = public.initiate_device_flow(SCOPE)
    assert flow["verification_uri"].endswith("/devicelogin") and flow["interval"] == 5
    page = requests.get(flow["verification_uri"], timeout=20)
    assert "user_code" in page.text
    form = {"user_code": flow["user_code"], "username": mock.user["name"], "password": mock.user["password"]}
    refused = requests.post(flow["verification_uri"], data=form | {"password": "wrong"}, timeout=20)
    assert refused.status_code == 401
    assert requests.post(flow["verification_uri"], data=form | {"decision": "approve"}, timeout=20).status_code == 200
    result = public.acquire_token_by_device_flow(flow)
    assert claims(result)["upn"] == mock.user["name"]
    assert result["id_token_claims"]["preferred_username"] == mock.user["name"]


def test_a_device_that_is_declined(mock, public):
    flow = public.initiate_device_flow(SCOPE)
    mock.order("POST", f"/devicecode/{flow['user_code']}/decline")
    assert public.acquire_token_by_device_flow(flow)["error"] == "authorization_declined"


def test_a_device_that_asks_too_often_and_too_late(mock, public):
    flow = public.initiate_device_flow(SCOPE)
    impatient = flow | {"expires_at": 0}  # msal then asks once
    assert public.acquire_token_by_device_flow(impatient)["error"] == "authorization_pending"
    assert public.acquire_token_by_device_flow(impatient)["error"] == "slow_down"
    mock.order("PUT", "/clock", {"offset": 1000})
    assert public.acquire_token_by_device_flow(impatient)["error"] == "expired_token"


def test_a_code_with_pkce_and_a_refresh(mock, public):
    flow = public.initiate_auth_code_flow(SCOPE, redirect_uri="http://localhost:8400")
    assert "code_challenge_method=S256" in flow["auth_uri"] and "nonce=" in flow["auth_uri"]
    location = sign_in(mock, flow["auth_uri"])
    assert location.startswith("http://localhost:8400?")
    response = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    result = public.acquire_token_by_auth_code_flow(flow, response)
    assert claims(result)["upn"] == mock.user["name"]
    # Another resource, with the refresh token that the cache holds.
    [account] = public.get_accounts()
    again = public.acquire_token_silent(["https://ml.azure.com/.default"], account)
    assert claims(again)["aud"] == "https://ml.azure.com"
    fresh = public.acquire_token_silent(SCOPE, account, force_refresh=True)
    assert fresh["access_token"] != result["access_token"]
    mock.order("POST", "/entra/revoke")
    lost = public.acquire_token_silent_with_error(SCOPE, account, force_refresh=True)
    assert lost["error"] == "invalid_grant"


def test_a_code_is_good_once_and_for_its_verifier_alone(mock, public):
    flow = public.initiate_auth_code_flow(SCOPE, redirect_uri="http://localhost:8400")
    response = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(sign_in(mock, flow["auth_uri"])).query))
    wrong = public.acquire_token_by_auth_code_flow(flow | {"code_verifier": "x" * 43}, response)
    assert (wrong["error"], wrong["error_codes"]) == ("invalid_grant", [501481])
    assert "access_token" in public.acquire_token_by_auth_code_flow(flow, response)
    again = public.acquire_token_by_auth_code_flow(flow, response)
    assert (again["error"], again["error_codes"]) == ("invalid_grant", [54005])


def test_a_person_who_declines_or_is_somebody_else(mock, public):
    flow = public.initiate_auth_code_flow(SCOPE, redirect_uri="http://localhost:8400")
    location = sign_in(mock, flow["auth_uri"], decision="decline")
    response = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))
    assert public.acquire_token_by_auth_code_flow(flow, response)["error"] == "access_denied"
    stranger = {"username": "eve", "password": "x", "decision": "approve"}
    assert requests.post(flow["auth_uri"], data=stranger, allow_redirects=False, timeout=20).status_code == 401
    elsewhere = re.sub("redirect_uri=[^&]*", "redirect_uri=https%3A%2F%2Fevil.example", flow["auth_uri"])
    answer = requests.get(elsewhere, allow_redirects=False, timeout=20)
    assert answer.status_code == 400 and "location" not in answer.headers


def test_a_browser_on_this_machine(mock, public):
    """The whole of it: msal's own listener, which wants the answer posted, and a thread that plays the browser."""
    answers = []

    def browse(url, **_):
        def person():
            form = {"username": mock.user["name"], "password": mock.user["password"], "decision": "approve"}
            page = requests.post(url, data=form, timeout=20).text
            fields = dict(re.findall('name="([^"]*)" value="([^"]*)"', page))
            [action] = re.findall('action="([^"]*)"', page)
            answers.append(requests.post(action, data=fields, timeout=20).status_code)

        threading.Thread(target=person).start()

    result = public.acquire_token_interactive(SCOPE, timeout=30, auth_uri_callback=browse)
    assert claims(result)["upn"] == mock.user["name"]
    assert answers == [200]


def test_a_form_post(mock, public):
    flow = public.initiate_auth_code_flow(SCOPE, redirect_uri="http://localhost:8400", response_mode="form_post")
    form = {"username": mock.user["name"], "password": mock.user["password"], "decision": "approve"}
    page = requests.post(flow["auth_uri"], data=form, allow_redirects=False, timeout=20).text
    fields = dict(re.findall('name="([^"]*)" value="([^"]*)"', page))
    assert 'action="http://localhost:8400"' in page
    assert "access_token" in public.acquire_token_by_auth_code_flow(flow, fields)


@pytest.mark.parametrize(
    "scope, error", [("https://nobody.example/.default", "invalid_resource"), ("https://ml.azure.com", "invalid_scope")]
)
def test_scopes_that_cannot_be(mock, scope, error):
    assert confidential(mock, mock.client_secret).acquire_token_for_client([scope])["error"] == error


def test_an_unknown_tenant_and_client(mock):
    with pytest.raises(ValueError, match="authority|tenant"):
        msal.ConfidentialClientApplication(
            "x", "y", authority=f"{mock.entra_tls}/nobody", instance_discovery=False
        ).acquire_token_for_client(SCOPE)
    app = msal.ConfidentialClientApplication("x", "y", authority=mock.authority, instance_discovery=False)
    assert app.acquire_token_for_client(SCOPE)["error"] == "unauthorized_client"


def test_throttling_is_remembered_by_the_client(mock):
    app = confidential(mock, mock.client_secret)
    mock.order("PUT", "/faults", {"target": "entra", "kind": "status", "status": 429, "retry_after": 60, "call": "token", "count": 1})
    assert app.acquire_token_for_client(SCOPE)["error_codes"] == [50196]
    before = mock.seen()["calls"]["entra"]["token:client_credentials"]
    assert app.acquire_token_for_client(SCOPE)["error_codes"] == [50196], "replayed, not asked again"
    assert mock.seen()["calls"]["entra"]["token:client_credentials"] == before


def test_microsofts_name_needs_no_option(mock, names):
    app = msal.ConfidentialClientApplication(
        mock.client_id, mock.client_secret, authority=f"https://login.microsoftonline.com/{mock.tenant}"
    )
    assert claims(app.acquire_token_for_client(SCOPE))["tid"] == mock.tenant
    everyone = msal.PublicClientApplication(
        mock.public_client_id, authority="https://login.microsoftonline.com/organizations"
    )
    flow = everyone.initiate_device_flow(SCOPE)
    mock.order("POST", f"/devicecode/{flow['user_code']}/approve")
    assert claims(everyone.acquire_token_by_device_flow(flow))["upn"] == mock.user["name"]
    assert [account["username"] for account in everyone.get_accounts()] == [mock.user["name"]]
    assert set(names) == {"login.microsoftonline.com"}, json.dumps(names)
