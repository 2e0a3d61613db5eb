"""Secrets that can be found again, and the search for them in everything that is said.

A key made here carries a mark that must never appear in anything the gate writes. What was made elsewhere (a private key, a token that
the gate made itself) is noted, and searched for as well. Answers of the gate's own are noted as clients read them, and searched at the
end of each test by a fixture that no test can forget (`conftest`).
"""

import base64
import re
import secrets
from urllib.parse import quote

MARK = "canary-never-to-be-seen-"
# Shorter ones are found by chance.
SHORTEST = 12
# Tokens that nobody noted: the embedded Azure makes them, and the gate fetches them.
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{12,}\.eyJ[A-Za-z0-9_-]{12,}\.[A-Za-z0-9_-]{12,}")

noted, heard = {}, []


def key():
    """A new key."""
    return MARK + secrets.token_hex(16)


def note(secret, what):
    """Something that must not be said either."""
    if len(secret) >= SHORTEST:
        noted[secret] = what


def hear(response, where):
    """An answer that a client has read; those of the gate's own are searched when the test ends."""
    if (response.header("server") or "") == "scoregate":
        heard.append((where, repr((response.headers, response.body)).encode()))


def search_heard():
    """No secret is in an answer of the gate's own. What was heard is forgotten."""
    answers = heard[:]
    heard.clear()
    for where, text in answers:
        assert_none_in(text, where)


def forms(secret):
    """How a secret may be written: as it is, in base64 at each of the three offsets, in hexadecimal, in a URL."""
    data = secret.encode()
    yield data
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + data)
        yield encoded[4 if lead else 0 : -4]
    yield data.hex().encode()
    if (escaped := quote(secret, safe="")) != secret:
        yield escaped.encode()


def assert_none_in(text, where):
    """No secret, in whatever form, is in what the gate wrote."""
    data = text if isinstance(text, bytes) else text.encode()
    for secret, what in {MARK: "a key", **noted}.items():
        for form in forms(secret):
            at = data.find(form)
            assert at < 0, f"{what} is in {where}: …{data[max(0, at - 60) : at]!r} and then the secret"
    token = TOKEN.search(data)
    assert not token, f"a token is in {where}: …{data[max(0, token.start() - 60) : token.start()]!r} and then the token"
