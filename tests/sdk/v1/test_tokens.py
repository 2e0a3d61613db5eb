"""Callers' tokens, made by PyJWT and python-jose, of every algorithm; and those that must be refused."""

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jose import jws as jose_jws
from jose import jwt as jose

from harness.gate import Gate

ISSUER, AUDIENCE = "https://issuer.example", "api://models"
RSA = rsa.generate_private_key(65537, 2048)
KEYS = {
    "rsa": RSA,
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
ALGORITHMS = {
    "RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
    "ES256": "p256", "ES384": "p384", "EdDSA": "ed25519",
}


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def published():
    """What PyJWT makes of the keys, without the secret parts and with the names of their tokens."""
    makers = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "ed25519": "EdDSA"}
    keys = []
    for kid, key in KEYS.items():
        maker = jwt.get_algorithm_by_name(makers[kid])
        keys.append(json.loads(maker.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"})
    for key in keys:
        # PyJWT says so of private keys' other halves too.
        key.pop("key_ops", None)
    return {"keys": keys}


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    (folder / "jwks.json").write_text(json.dumps(published()))
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    caller = {"jwt": {
        "issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json", "require": {"roles": ["score"]}, "skew": "0s",
    }}
    gate = Gate(folder, lambda _base: {
        "endpoints": {"model": {"upstreams": [f"http://127.0.0.1:{model.server_port}/score"]}},
        "callers": {"tenant": caller},
        "routes": [{"match": {"path_prefix": "/"}, "callers": ["tenant"], "endpoint": "model", "name": "all"}],
    })
    yield gate
    gate.stop()
    model.shutdown()


def claims(**changed):
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "nbf": now - 5, "sub": "me", "roles": ["score"]} | changed


def score(gate, token):
    request = urllib.request.Request(f"{gate.base}/score", b"{}", {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pyjwts_tokens_are_taken(gate, algorithm):
    kid = ALGORITHMS[algorithm]
    token = jwt.encode(claims(), KEYS[kid], algorithm, headers={"kid": kid})
    assert score(gate, token)[0] == 200
    assert score(gate, jwt.encode(claims(), KEYS[kid], algorithm))[0] == 200, "without a kid"


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256", "ES384"])
def test_python_joses_tokens_are_taken(gate, algorithm):
    kid = ALGORITHMS[algorithm]
    token = jose.encode(claims(), pem(KEYS[kid]), algorithm, headers={"kid": kid})
    assert score(gate, token)[0] == 200


def confused():
    """HS256 with the public key as the secret (RFC 8725 section 2.1)."""
    secret = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    parts = [json.dumps({"alg": "HS256", "typ": "JWT", "kid": "rsa"}), json.dumps(claims())]
    signed = ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    import hashlib
    import hmac

    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def test_what_is_wrong_with_a_token_is_in_the_metric_and_not_in_the_answer(gate):
    key, now = KEYS["p256"], int(time.time())
    kid = {"kid": "p256"}
    cases = {
        "token_expired": jwt.encode(claims(exp=now - 5), key, "ES256", headers=kid),
        "token_not_yet": jwt.encode(claims(nbf=now + 60), key, "ES256", headers=kid),
        "token_audience": jwt.encode(claims(aud="api://other"), key, "ES256", headers=kid),
        "token_issuer": jwt.encode(claims(iss="https://evil.example"), key, "ES256", headers=kid),
        "token_claims": jwt.encode(claims(roles=["read"]), key, "ES256", headers=kid),
        "token_signature": jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256", headers=kid),
        "token_key_unknown": jwt.encode(claims(), key, "ES256", headers={"kid": "../p256"}),
        "token_type": jwt.encode(claims(), key, "ES256", headers=kid | {"typ": "dpop+jwt"}),
        "token_algorithm": jwt.encode(claims(), None, "none"),
        "token_malformed": jose_jws.sign(b"no claims", pem(key), algorithm="ES256", headers=kid),
    }
    for reason, token in cases.items():
        status, body = score(gate, token)
        assert status == (403 if reason == "token_claims" else 401), reason
        assert reason not in body and "ES256" not in body
        assert f'scoregate_caller_rejections_total{{reason="{reason}",route="all"}} 1' in gate.metrics(), reason
    assert score(gate, confused())[0] == 401
    for token in cases.values():
        assert token not in gate.written() and token not in gate.metrics()
