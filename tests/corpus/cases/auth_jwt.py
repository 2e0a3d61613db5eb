"""Tokens of an issuer, and what passes for one (RFC 7515, 7518, 7519, and the practices of RFC 8725)."""

import json
import socket
import time

from ..core import tokens as t
from ..core.auth import UNKNOWN, bearer, passes, table, with_line
from ..core.case import Case, Outcome, demand
from ..core.judge import Refuse, Rules, Wanted

PATH = b"/jwt/<TOKEN>"
# The entry, and whom the token names.
RULES = Rules(identity=(b"tenant/somebody",))
HERE = passes(Wanted(target=PATH))
NEEDS = frozenset(["jwt"])
NOW, DAY = int(time.time()), t.DAY


def row(name, section, value, expect=UNKNOWN):
    return name, section, bearer(b"Bearer " + value, path=PATH), expect, {"rules": RULES, "needs": NEEDS}


def refused(section, *pairs):
    return [row(name, section, value) for name, value in pairs]


def claimed(section, *pairs):
    """The right key has signed it, and what it says is wrong."""
    return refused(section, *((name, t.rs256(t.claims(**others))) for name, others in pairs))


GOOD = t.rs256()
HEAD, BODY, SIGNATURE = GOOD.split(b".")
ES = t.es256()
NONE = {"typ": "JWT", "alg": "none"}
TAMPERED = HEAD + b"." + t.part(t.claims(sub="administrator", roles=["admin"])) + b"." + SIGNATURE
# The last digit of 256 bytes in base64 has four bits that mean nothing.
DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TWIN = GOOD[:-1] + bytes([DIGITS[DIGITS.index(GOOD[-1]) ^ 1]])


def twice(name, first, second):
    """A claim that is there twice (RFC 7519 section 4): whoever checks reads one, whoever acts may read the other."""
    text = json.dumps(t.claims(**{name: None}))
    return t.rs256((text[:-1] + f', "{name}": {json.dumps(first)}, "{name}": {json.dumps(second)}}}').encode())


JWT = table("jwt", [
    row("RS256 passes", "RFC 7518 3.3", GOOD, HERE),
    row("ES256 passes", "RFC 7518 3.4", ES, HERE),
    row("one audience of several passes", "RFC 7519 4.1.3", t.rs256(t.claims(aud=["other", t.AUDIENCE])), HERE),
    *refused("RFC 7519 6",
        ("alg none, no signature", t.token(NONE, sign=t.unsigned)),
        ("alg nOnE", t.token(NONE | {"alg": "nOnE"}, sign=t.unsigned)),
        ("alg none with the kid of a key", t.token(NONE | {"kid": "rsa-1"}, sign=t.unsigned)),
        ("alg none with a sound signature", t.token(NONE | {"kid": "rsa-1"})),
        ("an empty alg", t.token(NONE | {"alg": "", "kid": "rsa-1"})),
    ),
    *refused("RFC 7515 5.2",
        ("no signature", HEAD + b"." + BODY + b"."),
        ("no third part", HEAD + b"." + BODY),
        ("a fourth part", GOOD + b"."),
        ("a signature of zeros", HEAD + b"." + BODY + b"." + t.b64(bytes(256))),
        ("a signature that is cut", GOOD[:-8]),
        ("claims that were changed", TAMPERED),
        ("a header that was changed", t.part({"alg": "RS256", "kid": "rsa-1", "x": 1}) + b"." + BODY + b"." + SIGNATURE),
        ("the signature of another token", HEAD + b"." + BODY + b"." + t.rs256(t.claims(sub="other")).split(b".")[2]),
        ("a header that is a list", t.token([1])),
        ("a header that is no JSON", t.token(b"alg: RS256")),
        ("no alg", t.token({"typ": "JWT", "kid": "rsa-1"})),
        ("two algs", t.token(b'{"alg":"none","alg":"RS256","kid":"rsa-1"}')),
        ("a JWE", b".".join([t.part({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rsa-1"}), *[t.b64(b"x" * 32)] * 4])),
        ("JSON serialization", t.part({"protected": HEAD.decode(), "payload": BODY.decode(), "signature": SIGNATURE.decode()})),
    ),
    *refused("RFC 8725 2.1",
        ("HS256 with the public key's PEM", t.token({"alg": "HS256", "kid": "rsa-1"}, sign=t.hs256(t.RSA.pem()))),
        ("HS256 with the public key's DER", t.token({"alg": "HS256", "kid": "rsa-1"}, sign=t.hs256(t.RSA.der()))),
        ("HS256 with the modulus", t.token({"alg": "HS256", "kid": "rsa-1"}, sign=t.hs256(t.RSA.jwk()["n"].encode()))),
        ("HS256 with no secret", t.token({"alg": "HS256", "kid": "rsa-1"}, sign=t.hs256(b""))),
        ("PS256 with a key of RS256", t.rs256(alg="PS256", sign=t.RSA.ps256)),
        ("RS256 said, PS256 done", t.rs256(sign=t.RSA.ps256)),
        ("ES256 with the kid of an RSA key", t.es256(kid="rsa-1")),
        ("RS256 with the kid of an EC key", t.rs256(kid="ec-1")),
        ("an algorithm that nobody knows", t.rs256(alg="RS1")),
        ("an algorithm in small letters", t.rs256(alg="rs256")),
    ),
    *refused("RFC 7518 3.4",
        ("ES256 with r and s of zero", t.es256(sign=lambda _: bytes(64))),
        ("ES256 with r and s of the group's order", t.es256(sign=lambda _: bytes.fromhex(
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2)),
        ("ES256 in DER", t.es256(sign=t.EC.es256_der)),
        ("ES256 with a byte more", t.es256(sign=lambda signed: t.EC.es256(signed) + b"\0")),
        ("ES384 said, ES256 done", t.es256(alg="ES384")),
    ),
    *refused("RFC 7515 4.1.4",
        ("another's key under a known kid", t.rs256(sign=t.STRANGER.rs256)),
        ("another's key under a new kid", t.rs256(kid="rsa-2", sign=t.STRANGER.rs256)),
        ("a kid that is a path", t.token({"alg": "HS256", "kid": "../../../../../../dev/null"}, sign=t.hs256(b""))),
        ("a kid that is a query", t.token({"alg": "HS256", "kid": "x' UNION SELECT 'k'-- "}, sign=t.hs256(b"k"))),
        ("a kid that is a command", t.token({"alg": "HS256", "kid": "|echo k"}, sign=t.hs256(b"k"))),
        ("a kid that is a URL", t.rs256(kid="http://127.0.0.1:1/key", sign=t.STRANGER.rs256)),
        ("a kid that is a list", t.rs256(kid=["rsa-1"])),
        ("a kid with a NUL behind it", t.rs256(kid="rsa-1\0")),
        ("a kid of 8 KiB", t.rs256(kid="k" * 8192, sign=t.STRANGER.rs256)),
    ),
    *refused("RFC 7515 4.1.3",
        ("a key brought along", t.rs256(jwk=t.STRANGER.jwk(), sign=t.STRANGER.rs256)),
        ("a key brought along under a new kid", t.rs256(kid="rsa-2", jwk=t.STRANGER.jwk(kid="rsa-2"), sign=t.STRANGER.rs256)),
        ("a certificate brought along", t.rs256(x5c=[t.base64.b64encode(t.STRANGER.der()).decode()], sign=t.STRANGER.rs256)),
        ("a secret brought along", t.token({"alg": "HS256", "jwk": {"kty": "oct", "k": "aw"}}, sign=t.hs256(b"k"))),
    ),
    *refused("RFC 7515 4.1.11",
        ("an extension that must be understood", t.rs256(crit=["x"], x=1)),
        ("a payload that is not encoded", t.rs256(crit=["b64"], b64=False)),
        ("an empty list of extensions", t.rs256(crit=[])),
    ),
    *claimed("RFC 7519 4.1.4",
        ("expired a day ago", {"exp": NOW - DAY}), ("no exp", {"exp": None}), ("exp as text", {"exp": str(NOW + DAY)}),
        ("a negative exp", {"exp": -1}), ("exp in a list", {"exp": [NOW + DAY]}), ("exp is true", {"exp": True}),
    ),
    *claimed("RFC 7519 4.1.5", ("not before tomorrow", {"nbf": NOW + DAY}), ("nbf as text", {"nbf": "tomorrow"})),
    *claimed("RFC 7519 4.1.3",
        ("another audience", {"aud": "other"}), ("no audience", {"aud": None}), 
        ("an audience with more behind it", {"aud": t.AUDIENCE + "x"}),
        ("an audience in capitals", {"aud": t.AUDIENCE.upper()}), ("several others", {"aud": ["a", "b"]}), ("no audiences", {"aud": []}),
        ("an audience within another's text", {"aud": f"a {t.AUDIENCE}"}),
    ),
    *claimed("RFC 7519 4.1.1",
        ("another issuer", {"iss": "https://other.test/"}), ("no issuer", {"iss": None}), 
        ("an issuer without its slash", {"iss": t.ISSUER[:-1]}),
        ("an issuer with more behind it", {"iss": t.ISSUER + "x"}), ("an issuer in a list", {"iss": [t.ISSUER]}),
    ),
    *refused("RFC 7519 7.2",
        ("claims that are a list", t.rs256([t.claims()])), ("claims that are text", t.rs256(b"\"x\"")), ("no claims", t.rs256(b"")),
        ("claims that are no JSON", t.rs256(b"{")), ("a token in a token", t.rs256(GOOD, cty="JWT")),
        ("claims a thousand deep", t.rs256(b"[" * 1000 + b"]" * 1000)),
    ),
    *[row(name, "RFC 7519 4", value, (UNKNOWN, HERE)) for name, value in (
        ("an audience twice, the right one last", twice("aud", "other", t.AUDIENCE)),
        ("exp twice, the right one last", twice("exp", 1, NOW + DAY)))],
    *refused("RFC 7519 4",
        ("an audience twice, the right one first", twice("aud", t.AUDIENCE, "other")),
        ("exp twice, the right one first", twice("exp", NOW + DAY, 1))),
    *refused("RFC 7515 2",
        ("padding", GOOD + b"="), ("a space within", GOOD[:50] + b" " + GOOD[50:]), 
        ("the other alphabet", GOOD.replace(b"-", b"+").replace(b"_", b"/") + b"+"),
        ("a dot in front", b"." + GOOD), ("percent-encoded dots", GOOD.replace(b".", b"%2e")), 
        ("another last digit of the same bytes", TWIN),
    ),
    ("a token in the query", "RFC 6750 2.3", with_line(b"", path=PATH + b"?access_token=" + ES), UNKNOWN,
     {"rules": RULES, "needs": NEEDS}),
    ("a token in a cookie", "RFC 6750 2", with_line(b"cookie: access_token=" + ES + b"\r\n", path=PATH), UNKNOWN,
     {"rules": RULES, "needs": NEEDS}),
    ("two tokens", "RFC 6750 2", with_line(b"authorization: Bearer " + GOOD + b"\r\nauthorization: Bearer " + ES + b"\r\n", path=PATH),
     Refuse(frozenset([400, 401])), {"rules": RULES, "needs": NEEDS}),
    ("a token where a key is demanded", "threat 7", bearer(b"Bearer " + GOOD), UNKNOWN, {"needs": NEEDS}),
    ("a key where a token is demanded", "threat 7", bearer(b"Bearer <KEY-A>", path=PATH), UNKNOWN, {"rules": RULES, "needs": NEEDS}),
])


def nobody_asks(lane, header):
    """A token that says where its key is: it is refused, and nobody goes there."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        place = f"http://127.0.0.1:{trap.getsockname()[1]}/keys"
        lane.converse(bearer(b"Bearer " + t.rs256(kid="new", **{header: place}, sign=t.STRANGER.rs256), path=PATH), UNKNOWN, rules=RULES)
        try:
            other, _ = trap.accept()
        except BlockingIOError:
            return
        other.close()
        demand(False, Outcome.BYPASS, "the gate went where the token points")


PLACES = [
    Case(f"a token that says where its key is, in {header}", "auth", "jwt", section,
         lambda lane, header=header: nobody_asks(lane, header), needs=NEEDS)
    for header, section in (("jku", "RFC 7515 4.1.2"), ("x5u", "RFC 7515 4.1.5"))
]
CASES = JWT + PLACES
