"""Whose key opens which route, and what the upstream is told of it (threats 7 and 9)."""

from ..core.auth import ANYONE, FORBIDDEN, NOBODY, TEAM_B, UNKNOWN, NotReached, passes, table, with_line
from ..core.h1 import CHUNKED, post
from ..core.judge import Refuse, Rules, Wanted

A, B = b"authorization: Bearer <KEY-A>\r\n", b"authorization: Bearer <KEY-B>\r\n"


def at(path, fields=A):
    return with_line(fields, path=path)


def to(path):
    return passes(Wanted(target=path))


CALLERS = table("callers", [
    ("a key of another caller", "threat 7", at(b"/score/<TOKEN>", B), FORBIDDEN),
    ("a key of another caller, the other way round", "threat 7", at(b"/b/<TOKEN>"), FORBIDDEN),
    ("a caller's own route", "threat 7", at(b"/b/<TOKEN>", B), to(b"/b/<TOKEN>"), {"rules": TEAM_B}),
    ("the first of two callers", "threat 7", at(b"/both/<TOKEN>"), to(b"/both/<TOKEN>")),
    ("the second of two callers", "threat 7", at(b"/both/<TOKEN>", B), to(b"/both/<TOKEN>"), {"rules": TEAM_B}),
    ("nobody on a route of two callers", "threat 7", at(b"/both/<TOKEN>", b""), UNKNOWN),
    ("an expired key on a route of two callers", "threat 7", at(b"/both/<TOKEN>",
         b"authorization: Bearer <KEY-EXPIRED>\r\n"), UNKNOWN),
    ("nobody on a route of a caller and anyone", "threat 7", at(b"/mixed/<TOKEN>", b""), to(b"/mixed/<TOKEN>"),
         {"rules": ANYONE}),
    ("a caller on a route of its own and anyone's", "threat 7", at(b"/mixed/<TOKEN>"), to(b"/mixed/<TOKEN>")),
    ("a wrong key on a route of a caller and anyone", "threat 7", at(b"/mixed/<TOKEN>", b"authorization: Bearer wrong\r\n"),
     (to(b"/mixed/<TOKEN>"), UNKNOWN), {"rules": ANYONE}),
    ("a key of another caller on a route of a caller and anyone", "threat 7", at(b"/mixed/<TOKEN>", B),
         (to(b"/mixed/<TOKEN>"), FORBIDDEN), {"rules": ANYONE}),
    # The rule is that of /b; its path in other spellings is still that route, or none.
    *[(f"another caller's route, spelt {path.decode()}", "threat 6", at(path), NotReached(under=(b"/score/",)))
      for path in (b"/%62/x", b"//b/x", b"/./b/x", b"/score/../b/x", b"/b%2fx", b"/b;x/y", b"/b/../b/x", b"/%62%2fx",
          b"/b\\x", b"/score/%2e%2e/b/x",
                   b"/open/../b/x", b"/b/.", b"/b/", b"/b?x", b"/b#x")],
    *[(f"the open path, spelt {path.decode()}, opens nothing else", "threat 6", at(path, b""), UNKNOWN)
      for path in (b"/open/", b"/open/x", b"/open/../score", b"/open%2f..%2fscore", b"/open;/../score", b"/openx", b"/OPEN",
          b"/open%20", b"/open.json", b"/open%00")],
])

SUBJECT = b"x-auth-subject: spoofed\r\n"


def spoof(name, fields, expect=None, section="threat 9", path=b"/score/<TOKEN>", rules=None, key=A):
    """The value must not arrive; whether the request does is up to the gate."""
    expect = expect or (to(path), UNKNOWN)
    return name, section, at(path, key + fields), expect, {"rules": rules or Rules()}


IDENTITY = table("identity", [
    spoof("the identity header", SUBJECT, to(b"/score/<TOKEN>")),
    spoof("the identity header in capitals", SUBJECT.upper().replace(b"SPOOFED", b"spoofed"), to(b"/score/<TOKEN>")),
    spoof("the identity header twice", SUBJECT * 2, to(b"/score/<TOKEN>")),
    spoof("the identity header with the caller's own name", b"x-auth-subject: team-a\r\n", to(b"/score/<TOKEN>")),
    spoof("the identity header before the credential", b"", to(b"/score/<TOKEN>"), key=SUBJECT + A),
    spoof("the identity header, empty", b"x-auth-subject:\r\n", to(b"/score/<TOKEN>")),
    spoof("the identity header with an underscore", b"x_auth_subject: spoofed\r\n"),
    spoof("the identity header with one underscore", b"x-auth_subject: spoofed\r\n"),
    spoof("the identity header with dots", b"x.auth.subject: spoofed\r\n"),
    spoof("the identity header with a space before its colon", b"x-auth-subject : spoofed\r\n", section="RFC 9112 5.1"),
    spoof("the identity header behind a tab", b"\tx-auth-subject: spoofed\r\n", section="RFC 9112 5.2"),
    spoof("the identity header behind a fold", b"x-a: b\r\n x-auth-subject: spoofed\r\n", section="RFC 9112 5.2"),
    spoof("the identity header behind CR", b"x-a: b\rx-auth-subject: spoofed\r\n", section="RFC 9112 2.2"),
    spoof("the identity header behind LF", b"x-a: b\nx-auth-subject: spoofed\r\n", (to(b"/score/<TOKEN>"),
        Refuse(silent_ok=True)), section="RFC 9112 2.2"),
    spoof("the identity header with a NUL", b"x-auth-subject\0: spoofed\r\n", section="RFC 9110 5.1"),
    spoof("the identity header with a NUL in its value", b"x-auth-subject: spoofed\0\r\n", section="RFC 9110 5.5"),
    spoof("Connection names the identity header", b"connection: x-auth-subject\r\n", (to(b"/score/<TOKEN>"), UNKNOWN)),
    spoof("Connection names the identity header, which is there", b"connection: x-auth-subject\r\n" + SUBJECT,
        (to(b"/score/<TOKEN>"), UNKNOWN)),
    spoof("Connection names the identity header in capitals", b"connection: close, X-AUTH-SUBJECT\r\n",
        (to(b"/score/<TOKEN>"), UNKNOWN)),
    spoof("the identity header on a route for anyone", SUBJECT, to(b"/mixed/<TOKEN>"), path=b"/mixed/<TOKEN>", key=b"",
        rules=ANYONE),
    spoof("the identity header on a path that tells none", SUBJECT, to(b"/open"), path=b"/open", key=b"", rules=NOBODY),
    spoof("the identity header with a key of another caller", SUBJECT, FORBIDDEN, path=b"/score/<TOKEN>", key=B),
    spoof("the identity header without a key", SUBJECT, UNKNOWN, key=b""),
    ("the identity header in a trailer", "RFC 9110 6.5.1", CHUNKED + b"5\r\nhello\r\n0\r\n" + SUBJECT + b"\r\n",
         (passes(post(b"hello")), Refuse(cut_ok=True))),
    ("the identity header in a trailer, announced", "RFC 9110 6.5.1",
     CHUNKED.replace(b"transfer-", b"trailer: x-auth-subject\r\ntransfer-") + b"5\r\nhello\r\n0\r\n" + SUBJECT + b"\r\n",
         (passes(post(b"hello")), Refuse(cut_ok=True))),
    *[spoof(f"{name.decode()} is believed of nobody", name + b": " + value + b"\r\n", to(b"/score/<TOKEN>")) for name,
        value in (
        (b"x-forwarded-for", b"spoofed"), (b"x-forwarded-for", b"spoofed, 127.0.0.1"), (b"x-forwarded-host",
            b"spoofed.test"), (b"x-forwarded-proto", b"spoofed"),
        (b"x-forwarded-port", b"spoofed"), (b"x-forwarded-prefix", b"/spoofed"), (b"x-forwarded-user", b"spoofed"),
            (b"x-forwarded-client-cert", b"Subject=\"spoofed\""),
        (b"forwarded", b"for=spoofed;host=spoofed;proto=https"), (b"x-real-ip", b"spoofed"), (b"x-forwarded-server",
            b"spoofed"), (b"x-forwarded-email", b"spoofed@x"),
    )][1:],
    spoof("x-forwarded-for in two fields", b"x-forwarded-for: spoofed\r\nx-forwarded-for: spoofed\r\n",
        to(b"/score/<TOKEN>")),
    spoof("x_forwarded_for, with underscores", b"x_forwarded_for: spoofed\r\n"),
    spoof("Connection names x-forwarded-for", b"x-forwarded-for: spoofed\r\nconnection: x-forwarded-for\r\n",
        (to(b"/score/<TOKEN>"), UNKNOWN)),
    spoof("an id of the request that would write into logs", b"x-request-id: spoofed\"}\\n{\"level\":\"error\" x\r\n",
        (to(b"/score/<TOKEN>"), UNKNOWN)),
    spoof("an id of the request of 4 KiB", b"x-request-id: " + b"spoofed" * 600 + b"\r\n", (to(b"/score/<TOKEN>"), UNKNOWN)),
])
CASES = CALLERS + IDENTITY
