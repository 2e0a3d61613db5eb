"""Keys padded, joined, encoded, cut or bent; two of them; and in places where nobody looks (RFC 6750, threat 7)."""

import base64
import hashlib

from ..core.auth import AMBIGUOUS, ANYONE, HOST, KEY_PASSES, LINE, NOBODY, UNKNOWN, bearer, passes, table, with_line
from ..core.case import Case, Outcome, demand
from ..core.h1 import POST, sized
from ..core.judge import Refuse, Wanted

A = b"<KEY-A>"
AUTH = b"authorization: Bearer <KEY-A>\r\n"
SECTION = "RFC 6750 2.1"
BAD = Refuse(frozenset([400, 401, 403, 431]), forwarded=Outcome.BYPASS)

FORM = table("credentials: form", [
    ("no credential", "RFC 9110 11.6.2", LINE + HOST + b"\r\n", UNKNOWN),
    *[(name, SECTION, bearer(value), UNKNOWN) for name, value in (
        ("an empty credential", b""),
        ("the scheme alone", b"Bearer"),
        ("the scheme and a space", b"Bearer "),
        ("the key without a scheme", A),
        ("another scheme", b"Basic " + A),
        ("the scheme of tokens of others", b"Token " + A),
        ("a scheme with a suffix", b"Bearerx " + A),
        ("a scheme with a prefix", b"xBearer " + A),
        ("a scheme with a colon", b"Bearer: " + A),
        ("a scheme with an equals sign", b"Bearer=" + A),
        ("a scheme that runs into the key", b"Bearer" + A),
        ("the scheme twice", b"Bearer Bearer " + A),
        ("two spaces before the key", b"Bearer  " + A),
        ("a tab before the key", b"Bearer\t" + A),
        ("a space beyond ASCII before the key", b"Bearer\xc2\xa0" + A),
        ("the key in quotes", b"Bearer \"" + A + b"\""),
        ("the key in angle brackets", b"Bearer <" + A + b">"),
        ("the key as a parameter", b"Bearer token=" + A),
        ("the key with a comma behind it", b"Bearer " + A + b","),
        ("the key with a semicolon behind it", b"Bearer " + A + b";x"),
        ("the key twice in one credential", b"Bearer " + A + b" " + A),
        ("the key twice in a list", b"Bearer " + A + b", Bearer " + A),
        ("a wrong key and the key in a list", b"Bearer wrong, Bearer " + A),
        ("the key and another scheme in a list", b"Bearer " + A + b", Basic eDp5"),
        ("the key with a letter more", b"Bearer " + A + b"x"),
        ("the key with a letter before it", b"Bearer x" + A),
        ("the key doubled", b"Bearer " + A + A),
        ("the key escaped in part", b"Bearer %63" + A[1:]),
        ("the key with an escaped NUL", b"Bearer " + A + b"%00"),
        ("the key with an escaped newline", b"Bearer " + A + b"%0a"),
        ("the key with a backslash and n", b"Bearer " + A + b"\\n"),
        ("the key with a mark of byte order", b"Bearer \xef\xbb\xbf" + A),
        ("the key with a space of no width", b"Bearer " + A + b"\xe2\x80\x8b"),
        ("a wildcard", b"Bearer *"),
        ("a regular expression", b"Bearer .*"),
        ("a wildcard of SQL", b"Bearer %"),
        ("an injection of SQL", b"Bearer ' OR '1'='1"),
        ("a template", b"Bearer ${KEY}"),
        ("null", b"Bearer null"),
        ("true", b"Bearer true"),
        ("a key of 20 KB", b"Bearer " + b"a" * 20000),
        ("the key of the service itself", b"Bearer <SERVICE>"),
        ("a token without a signature", b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZWFtLWEifQ."),
        ("a name of a caller", b"Bearer team-a"),
        ("a key that has expired", b"Bearer <KEY-EXPIRED>"),
    )],
    ("the key with a NUL and rubbish behind it", "threat 7", bearer(b"Bearer " + A + b"\0rubbish"), UNKNOWN),
    ("the key with a NUL alone", "threat 7", bearer(b"Bearer " + A + b"\0"), UNKNOWN),
    ("the key with CR behind it", "RFC 9112 2.2", bearer(b"Bearer " + A + b"\r"), UNKNOWN),
    ("the key folded onto the next line", "RFC 9112 5.2", bearer(b"Bearer\r\n " + A), UNKNOWN),
    ("the key in two folded halves", "RFC 9112 5.2", bearer(b"Bearer " + A[:5] + b"\r\n " + A[5:]), UNKNOWN),
    ("a space before the colon", "RFC 9112 5.1", with_line(b"authorization : Bearer <KEY-A>\r\n"), UNKNOWN),
    ("the scheme in small letters", "RFC 9110 11.1", bearer(b"bearer " + A), passes()),
    ("the scheme in capitals", "RFC 9110 11.1", bearer(b"BEARER " + A), passes()),
    ("the name in capitals", "RFC 9110 5.1", with_line(b"AUTHORIZATION: Bearer <KEY-A>\r\n"), passes()),
    ("spaces and tabs around the credential", "RFC 9110 5.5", bearer(b" \t Bearer " + A + b" \t"), passes()),
])


def bent(name, section, bend):
    """A case whose key is made from the key itself."""
    def play(lane):
        value = bend(lane.keys.a.encode())
        lane.converse(bearer(b"Bearer " + value), BAD)

    return Case(name, "auth", "credentials: form", section, play)


BENT = [
    bent("the key in capitals", "threat 7", bytes.upper),
    bent("the key with one letter in the other case", "threat 7", lambda key: key[:-40] + key[-40:].swapcase()),
    bent("the key without its last letter", "threat 7", lambda key: key[:-1]),
    bent("the key without its first letter", "threat 7", lambda key: key[1:]),
    bent("the key with its last letter changed", "threat 7", lambda key: key[:-1] + (b"0" if key[-1:] != b"0" else b"1")),
    bent("the key with its first letter changed", "threat 7", lambda key: b"X" + key[1:]),
    bent("the key reversed", "threat 7", lambda key: key[::-1]),
    bent("the key in base64", SECTION, base64.b64encode),
    bent("the key in hexadecimal", SECTION, lambda key: key.hex().encode()),
    bent("the key's SHA-256, as the configuration has it", "threat 7", lambda key: hashlib.sha256(key).hexdigest().encode()),
    bent("the key with every byte escaped", SECTION, lambda key: b"".join(b"%%%02x" % byte for byte in key)),
    bent("the key with a letter that looks the same", "threat 7", lambda key: key.replace(b"a", "а".encode(), 1)),
    bent("the key in wide letters", "threat 7", lambda key: "".join(chr(byte + 0xFEE0) for byte in key).encode()),
    bent("a prefix of the key of sixty-four bytes", "threat 7", lambda key: key[:30]),
]

TWO = "threat 7"
NUMBER = table("credentials: number", [
    ("the key twice in two fields", TWO, with_line(AUTH + AUTH), AMBIGUOUS),
    ("the key, then a wrong one", TWO, with_line(AUTH + b"authorization: Bearer wrong\r\n"), AMBIGUOUS),
    ("a wrong key, then the key", TWO, with_line(b"authorization: Bearer wrong\r\n" + AUTH), AMBIGUOUS),
    ("the key, then an empty field", TWO, with_line(AUTH + b"authorization:\r\n"), AMBIGUOUS),
    ("an empty field, then the key", TWO, with_line(b"authorization:\r\n" + AUTH), AMBIGUOUS),
    ("the key, then another scheme", TWO, with_line(AUTH + b"Authorization: Basic eDp5\r\n"), AMBIGUOUS),
    ("keys of two callers", TWO, with_line(AUTH + b"authorization: Bearer <KEY-B>\r\n"), AMBIGUOUS),
    ("keys of two callers on a route of both", TWO, with_line(AUTH + b"authorization: Bearer <KEY-B>\r\n",
         path=b"/both/<TOKEN>"), AMBIGUOUS),
    ("the key, and the same in x-api-key", TWO, with_line(AUTH + b"x-api-key: <KEY-A>\r\n"), AMBIGUOUS),
    ("the key, and another in x-api-key", TWO, with_line(AUTH + b"x-api-key: <KEY-B>\r\n"), AMBIGUOUS),
    ("the key, and another in api-key", TWO, with_line(AUTH + b"api-key: <KEY-B>\r\n"), AMBIGUOUS),
    ("a wrong key, and the key in api-key", TWO, with_line(b"authorization: Bearer wrong\r\napi-key: <KEY-A>\r\n",
         path=b"/keys/<TOKEN>"), AMBIGUOUS,
     {"needs": frozenset(["caller-headers"])}),
    ("x-api-key twice", TWO, with_line(b"x-api-key: <KEY-A>\r\nx-api-key: <KEY-A>\r\n", path=b"/keys/<TOKEN>"), AMBIGUOUS,
         {"needs": frozenset(["caller-headers"])}),
    ("x-api-key and api-key", TWO, with_line(b"x-api-key: <KEY-A>\r\napi-key: <KEY-A>\r\n", path=b"/keys/<TOKEN>"),
         AMBIGUOUS,
     {"needs": frozenset(["caller-headers"])}),
    ("the key twice on an open path", TWO, with_line(AUTH + AUTH, path=b"/open"), (AMBIGUOUS,
         passes(Wanted(target=b"/open"))), {"rules": NOBODY}),
    ("twenty keys, the last one right", TWO, with_line(b"authorization: Bearer wrong\r\n" * 19 + AUTH), AMBIGUOUS),
    ("the key, and the same behind a fold", "RFC 9112 5.2", with_line(b"x-a: b\r\n authorization: Bearer <KEY-A>\r\n"),
         UNKNOWN),
])

BODY = b"access_token=<KEY-A>&api_key=<KEY-A>"
PASS = {"rules": KEY_PASSES}
CALLER_HEADERS = {"needs": frozenset(["caller-headers"])}
PLACE = table("credentials: place", [
    *[(f"the key in the query, as {name.decode()}", "RFC 6750 2.3", with_line(b"",
      path=b"/score/<TOKEN>?" + name + b"=<KEY-A>"), UNKNOWN)
      for name in (b"access_token", b"api_key", b"Authorization", b"code", b"subscription-key")],
    ("the key in the query, with its scheme", "RFC 6750 2.3", with_line(b"",
         path=b"/score/<TOKEN>?authorization=Bearer%20<KEY-A>"), UNKNOWN),
    ("the key in a cookie", "RFC 6265 4.2", with_line(b"cookie: authorization=Bearer <KEY-A>; token=<KEY-A>\r\n"), UNKNOWN),
    ("the key in a form", "RFC 6750 2.2", sized(POST.replace(AUTH, b"content-type: application/x-www-form-urlencoded\r\n"),
         BODY), UNKNOWN),
    ("the key in JSON", "RFC 6750 2.2", sized(POST.replace(AUTH, b"content-type: application/json\r\n"),
         b"{\"key\":\"<KEY-A>\"}"), UNKNOWN),
    ("the key in user information", "RFC 9110 4.2.4",
         b"GET http://<KEY-A>@localhost/score/<TOKEN> HTTP/1.1\r\n" + HOST + b"\r\n", UNKNOWN),
    ("the key in the host", "RFC 9110 7.2", LINE + b"host: <KEY-A>@localhost\r\n\r\n", UNKNOWN),
    ("the key in a trailer", "RFC 9110 6.5.1",
     with_line(b"transfer-encoding: chunked\r\ntrailer: authorization\r\n", method=b"POST") + b"0\r\n" + AUTH + b"\r\n",
         UNKNOWN),
    ("the key in a chunk's extension", "RFC 9112 7.1.1", with_line(b"transfer-encoding: chunked\r\n",
         method=b"POST") + b"0;" + A + b"\r\n\r\n", UNKNOWN),
    *[(f"the key in {name.decode()}", "threat 7", with_line(name + b": " + value + b"\r\n"), UNKNOWN) for name, value in (
        (b"proxy-authorization", b"Bearer " + A), (b"x-authorization", b"Bearer " + A), (b"x-forwarded-authorization",
            b"Bearer " + A),
        (b"authentication", b"Bearer " + A), (b"x-auth-token", A), (b"x-access-token", A), (b"ocp-apim-subscription-key", A),
        (b"x-api-key", A), (b"api-key", A), (b"x-functions-key", A), (b"www-authenticate", b"Bearer " + A),
        (b"sec-websocket-protocol", b"bearer, " + A), (b"x-service-key", A), (b"from", A), (b"user-agent", A), (b"referer",
            b"http://x/?" + A),
    )],
    *[(f"the key in {name.decode()}, which looks like Authorization", "threat 9", with_line(name + b": Bearer <KEY-A>\r\n"),
      UNKNOWN) for name in (
        b"authorization_", b"authorization.", b"authorisation", b"http_authorization", b"x_authorization", b"authorization-",
            b"-authorization",
    )],
    ("the key in x-api-key, with a scheme, where keys are read there", "threat 7",
         with_line(b"x-api-key: Bearer <KEY-A>\r\n", path=b"/keys/<TOKEN>"), UNKNOWN,
     CALLER_HEADERS),
    ("an empty x-api-key where keys are read there", "threat 7", with_line(b"x-api-key:\r\n", path=b"/keys/<TOKEN>"),
         UNKNOWN, CALLER_HEADERS),
    ("the key in X_API_KEY where keys are read in x-api-key", "threat 9", with_line(b"x_api_key: <KEY-A>\r\n",
         path=b"/keys/<TOKEN>"), UNKNOWN, CALLER_HEADERS),
    ("the key in x-api-key where keys are read there", "threat 7", with_line(b"X-Api-Key: <KEY-A>\r\n",
         path=b"/keys/<TOKEN>"),
     passes(Wanted(target=b"/keys/<TOKEN>")), CALLER_HEADERS),
    ("the key in api-key where keys are read there", "threat 7", with_line(b"api-key: <KEY-A>\r\n", path=b"/keys/<TOKEN>"),
     passes(Wanted(target=b"/keys/<TOKEN>")), CALLER_HEADERS),
    ("a key in the query beside the key is the service's own affair", "threat 7", with_line(AUTH,
         path=b"/score/<TOKEN>?api_key=other"),
     passes(Wanted(target=b"/score/<TOKEN>?api_key=other"))),
    ("a key in x-api-key alone does not go on from an open path", "threat 7", with_line(b"x-api-key: <KEY-A>\r\n",
         path=b"/open"),
     (passes(Wanted(target=b"/open", lacks=(b"x-api-key",))), UNKNOWN), {"rules": NOBODY}),
    ("a key does not go on from an open path", "threat 7", with_line(AUTH, path=b"/open"), passes(Wanted(target=b"/open",
         lacks=(b"authorization",))), {"rules": NOBODY}),
    ("a wrong key on an open path", "threat 7", with_line(b"authorization: Bearer wrong\r\n", path=b"/open"),
         (passes(Wanted(target=b"/open")), UNKNOWN), {"rules": NOBODY}),
    ("no key on an open path gets no credential", "threat 7", with_line(b"", path=b"/open"), passes(Wanted(target=b"/open")),
         {"rules": NOBODY}),
    ("Connection names authorization: the service's key stays", "threat 9",
         with_line(AUTH + b"connection: authorization\r\n"), (passes(), UNKNOWN)),
    ("Connection names the header of another endpoint's key", "threat 9", with_line(AUTH + b"connection: x-service-key\r\n",
         path=b"/extra/<TOKEN>"),
     (passes(Wanted(target=b"/extra/<TOKEN>")), UNKNOWN), {"needs": frozenset(["extra-header"]),
         "rules": ANYONE.__class__(attached="extra")}),
    ("a caller sends the header that a service's key goes into", "threat 7", with_line(AUTH + b"x-service-key: spoofed\r\n",
         path=b"/extra/<TOKEN>"),
     (passes(Wanted(target=b"/extra/<TOKEN>")), UNKNOWN), {"needs": frozenset(["extra-header"]),
         "rules": ANYONE.__class__(attached="extra")}),
    ("a caller sends another endpoint's key header", "threat 7", with_line(AUTH + b"x-service-key: spoofed\r\n"),
         (passes(Wanted(lacks=(b"x-service-key",))), UNKNOWN),
     {"needs": frozenset(["extra-header"])}),
])


def challenge(lane):
    """401 says how to do better (RFC 9110 section 11.6.1), and is not to be stored."""
    with lane.talk() as talk:
        talk.send(lane.fill(LINE + HOST + b"\r\n"), b"GET")
        talk.read_answers(1)
        lane.judge(talk, Refuse(frozenset([401])))
        demand(talk.answers[0].all(b"www-authenticate"), Outcome.WRONG, "401 without www-authenticate")


CASES = [*FORM, *BENT, *NUMBER, *PLACE, Case("401 carries a challenge", "auth", "credentials: form", "RFC 9110 15.5.2",
    challenge)]
