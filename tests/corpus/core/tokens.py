"""An issuer of tokens, and everybody who would like to be it: tokens are made part by part, so that any part can be wrong."""

import base64
import hashlib
import hmac
import json
import secrets as chance
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from harness import secrets

ISSUER, AUDIENCE = "https://issuer.test/", "scoregate"
# A run takes no longer.
DAY = 86400


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def part(value):
    return b64(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def claims(**others):
    """Sound ones, with these beside or in place of them; None leaves one out. Any output that has the token has the mark."""
    now = int(time.time())
    sound = {"iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "iat": now - 60, "nbf": now - 60, "exp": now + DAY,
             "jti": secrets.MARK + chance.token_hex(8)}
    return {name: value for name, value in (sound | others).items() if value is not None}


class Key:
    """One key of whoever signs."""

    def __init__(self, kid, private):
        self.kid, self.private, self.public = kid, private, private.public_key()

    def jwk(self, **others):
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.public.public_numbers()
            of_kind = {"kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
        else:
            numbers = self.public.public_numbers()
            of_kind = {"kty": "EC", "alg": "ES256", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")).decode(),
                       "y": b64(numbers.y.to_bytes(32, "big")).decode()}
        return {"kid": self.kid, "use": "sig"} | of_kind | others

    def rs256(self, signed):
        return self.private.sign(signed, padding.PKCS1v15(), hashes.SHA256())

    def ps256(self, signed):
        return self.private.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())

    def es256_der(self, signed):
        return self.private.sign(signed, ec.ECDSA(hashes.SHA256()))

    def es256(self, signed):
        r, s = decode_dss_signature(self.es256_der(signed))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def pem(self):
        return self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def der(self):
        return self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


RSA, EC = Key("rsa-1", rsa.generate_private_key(65537, 2048)), Key("ec-1", ec.generate_private_key(ec.SECP256R1()))
# Of nobody whom the gate knows.
STRANGER = Key("rsa-1", rsa.generate_private_key(65537, 2048))


def jwks():
    """What the gate is told of the issuer."""
    return json.dumps({"keys": [RSA.jwk(), EC.jwk()]})


def token(header=None, payload=None, sign=RSA.rs256):
    """Signed as it says, unless told otherwise."""
    head = {"typ": "JWT", "alg": "RS256", "kid": "rsa-1"} if header is None else header
    signed = part(head) + b"." + part(claims() if payload is None else payload)
    return signed + b"." + b64(sign(signed))


def es256(payload=None, sign=EC.es256, **header):
    return token({"typ": "JWT", "alg": "ES256", "kid": "ec-1"} | header, payload, sign)


def rs256(payload=None, sign=RSA.rs256, **header):
    return token({"typ": "JWT", "alg": "RS256", "kid": "rsa-1"} | header, payload, sign)


def hs256(secret):
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()


def unsigned(_):
    return b""
