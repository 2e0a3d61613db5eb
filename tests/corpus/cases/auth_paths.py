"""Ways around a rule for a path, and from one host's routes to another's (RFC 3986 section 6, threats 4 and 6)."""

import ssl
from functools import partial

from ..core.auth import FORBIDDEN, TEAM_B, NotReached, passes, table, with_line
from ..core.case import Case, Outcome, demand
from ..core.h2 import head, request
from ..core.http2 import Http2
from ..core.judge import Refuse, Rules, Wanted
from ..core.talk import dial

A, B = b"authorization: Bearer <KEY-A>\r\n", b"authorization: Bearer <KEY-B>\r\n"
DENIED = Refuse(frozenset([400, 403, 404]), forwarded=Outcome.BYPASS)
# Another path by RFC 3986, although a careless server may take it for the denied one: refused, or passed on as it is.
OTHER = NotReached(frozenset([400, 403, 404]))
# What a server that decodes twice makes of it is not the gate's affair, as long as the gate has decoded nothing itself.
TWICE = Rules(denied_may_pass=True)


def at(path, fields=A, method=b"GET"):
    return with_line(fields, path=path, method=method)


ADMIN = table("paths", [
    *[(f"the denied path as {name}", section, at(path), DENIED) for name, section, path in (
        ("it is", "threat 6", b"/admin"),
        ("its folder", "threat 6", b"/admin/"),
        ("what is below it", "threat 6", b"/admin/users?x=1"),
        ("an escaped first letter", "RFC 3986 6.2.2.2", b"/%61dmin"),
        ("every letter escaped", "RFC 3986 6.2.2.2", b"/%61%64%6d%69%6e"),
        ("escapes in capitals", "RFC 3986 6.2.2.1", b"/%61%64%6D%69%6E"),
        ("two slashes before it", "threat 6", b"//admin"),
        ("ten slashes before it", "threat 6", b"//////////admin"),
        ("a dot before it", "RFC 3986 6.2.2.3", b"/./admin"),
        ("many dots before it", "RFC 3986 6.2.2.3", b"/././././admin"),
        ("a folder and back", "RFC 3986 6.2.2.3", b"/score/../admin"),
        ("two folders and back", "RFC 3986 6.2.2.3", b"/a/b/../../admin"),
        ("a folder and back, the dots escaped", "RFC 3986 6.2.2.2", b"/score/%2e%2e/admin"),
        ("a folder and back, one dot escaped", "RFC 3986 6.2.2.2", b"/score/.%2e/admin"),
        ("an escaped dot before it", "RFC 3986 6.2.2.2", b"/%2e/admin"),
        ("dots above the root", "RFC 3986 5.2.4", b"/../admin"),
        ("dots far above the root", "RFC 3986 5.2.4", b"/../../../../admin"),
        ("an empty segment and back", "RFC 3986 5.2.4", b"/score//../../admin"),
        ("an escaped slash before it", "threat 6", b"/%2fadmin"),
        ("an escaped slash behind it", "threat 6", b"/admin%2fusers"),
        ("escaped slashes and dots", "threat 6", b"/score%2f..%2fadmin"),
        ("an escaped slash behind dots", "threat 6", b"/score/..%2fadmin"),
        ("a backslash before it", "threat 6", b"/\\admin"),
        ("backslashes and dots", "threat 6", b"/score\\..\\admin"),
        ("an escaped backslash", "threat 6", b"/score/..%5cadmin"),
        ("an escaped backslash before it", "threat 6", b"/%5cadmin"),
        ("a parameter behind it", "threat 6", b"/admin;x=y"),
        ("an empty parameter behind it", "threat 6", b"/admin;/users"),
        ("a parameter on dots", "threat 6", b"/score/..;/admin"),
        ("a parameter on escaped dots", "threat 6", b"/score/%2e%2e;x/admin"),
        ("a parameter before it", "threat 6", b"/;x/admin"),
        ("a NUL behind it", "threat 6", b"/admin%00"),
        ("a NUL and another ending", "threat 6", b"/admin%00.html"),
        ("a NUL before it", "threat 6", b"/%00/../admin"),
        ("an escaped newline behind it", "threat 6", b"/admin%0a"),
        ("an escaped tab behind it", "threat 6", b"/admin%09"),
        ("a fragment behind it", "RFC 9112 3.2.1", b"/admin#x"),
        ("a fragment before it", "RFC 9112 3.2.1", b"/score#/../admin"),
        ("a query with dots before it", "RFC 3986 3.4", b"/admin?/../score"),
        ("absolute form", "RFC 9112 3.2.2", b"http://localhost/admin"),
        ("absolute form with dots", "RFC 9112 3.2.2", b"http://localhost/score/../admin"),
        ("absolute form with two slashes", "RFC 9112 3.2.2", b"http://localhost//admin"),
        ("a dot behind it", "RFC 3986 6.2.2.3", b"/admin/."),
        ("a folder behind it and back", "RFC 3986 6.2.2.3", b"/admin/users/.."),
    )],
    *[(f"like the denied path: {name}", section, at(path), OTHER) for name, section, path in (
        ("in capitals", "RFC 3986 6.2.2.1", b"/ADMIN"),
        ("with a letter more", "threat 6", b"/administrator"),
        ("with a dot", "threat 6", b"/admin."),
        ("with an escaped space", "threat 6", b"/admin%20"),
        ("with an ending", "threat 6", b"/admin.json"),
        ("with a tilde", "threat 6", b"/admin~"),
        ("with a plus sign", "threat 6", b"/admin+"),
        ("with an escaped parameter", "threat 6", b"/admin%3bx"),
        ("with an escaped query", "threat 6", b"/admin%3fx"),
        ("with an escaped fragment", "threat 6", b"/admin%23x"),
        ("in overlong UTF-8", "RFC 3629 3", b"/%c1%a1dmin"),
        ("behind an overlong slash", "RFC 3629 3", b"/score/..%c0%afadmin"),
        ("behind an overlong dot", "RFC 3629 3", b"/score/%c0%ae%c0%ae/admin"),
        ("in wide letters", "threat 6", b"/%ef%bd%81dmin"),
        ("behind three dots", "RFC 3986 5.2.4", b"/score/.../admin"),
        ("behind dots with a space", "threat 6", b"/score/..%20/admin"),
        ("as an escape of IIS", "threat 6", b"/%u0061dmin"),
        ("in the query", "RFC 3986 3.4", b"/score?path=/admin"),
        ("in the query, with dots", "RFC 3986 3.4", b"/score?/../admin"),
        ("below another path", "threat 6", b"/score/admin"),
    )],
    *[(f"decoded twice it is the denied path: {path.decode()}", "threat 6", at(path), OTHER, {"rules": TWICE})
      for path in (b"/%2561dmin", b"/score/%252e%252e/admin", b"/score%252f..%252fadmin", b"/score/..%255cadmin")],
    *[(f"the denied path with {method.decode()}", "threat 6", at(b"/admin", method=method),
       Refuse(frozenset([400, 403, 404, 405, 501]), forwarded=Outcome.BYPASS))
      for method in (b"HEAD", b"POST", b"OPTIONS", b"PUT", b"DELETE", b"PROPFIND", b"get", b"X")],
    ("the denied path without a key tells no more than with one", "threat 6", at(b"/admin", b""), Refuse(frozenset([400, 401,
         403, 404]), forwarded=Outcome.BYPASS)),
])

SPECIAL = {"needs": frozenset(["path-chars"])}
BASES = table("paths", [
    ("a base is put before the path", "threat 6", at(b"/based/x"), passes(Wanted(target=b"/svc/v1/x"))),
    *[(f"out of the base: {path.decode()}", "threat 6", at(path), NotReached(frozenset([400, 403, 404]), (b"/svc/v1/", b"/x",
      b"/score")))
      for path in (b"/based/../score", b"/based/%2e%2e/%2e%2e/x", b"/based/..;/..;/x", b"/based/..%2f..%2fx",
          b"/based/..\\..\\x", b"/based//../../x",
                   b"/based/./../../x", b"/based/x/../../../x", b"/based/%2e%2e%2f%2e%2e%2fx", b"/based/%5c..%5c..%5cx")],
    *[(f"a route that allows signs does not allow climbing: {path.decode()}", "threat 6", at(path),
      NotReached(frozenset([400, 403, 404]), (b"/special/",)), SPECIAL)
      for path in (b"/special/..;/admin", b"/special/..%2fadmin", b"/special/..\\admin", b"/special/..%5cadmin",
          b"/special/%2e%2e%2fadmin", b"/special;/../admin",
                   b"/special/x;y/../../admin", b"/special%2f..%2fadmin", b"/special\\..\\admin", b"/special/.;/../admin",
                       b"/special/%2e%2e;/admin",
                   b"/special/..%2f..%2fadmin")],
    *[(f"a sign that a route allows passes: {path.decode()}", "threat 6", at(path), passes(Wanted(target=path)), SPECIAL)
      for path in (b"/special/a;b=c", b"/special/a%2Fb", b"/special/a%5Cb")],
    *[(f"a sound path passes: {path.decode()}", "RFC 3986 3.3", at(path), passes(Wanted(target=target))) for path,
      target in (
        (b"/score/a:b@c!$&'()*+,=-._~", b"/score/a:b@c!$&'()*+,=-._~"), (b"/score/%C3%A4", b"/score/%C3%A4"),
            (b"/score/a%20b", b"/score/a%20b"), (b"/score/x/", b"/score/x/"),
    )],
])

CONFUSED = NotReached(frozenset([400, 401, 403, 404, 421]), ())


def host(value, path=b"/score/<TOKEN>", fields=A, target=None):
    line = b"GET " + (target or path) + b" HTTP/1.1\r\nhost: " + value + b"\r\n"
    return line + fields + b"\r\n"


TLS = {"tls": True}
HOSTS = table("hosts", [
    *[(f"another caller's host as {value.decode()}", "threat 4", host(value), CONFUSED, TLS) for value in (
        b"secret.test", b"SECRET.test", b"secret.test:443", b"secret.test.", b"secret.test.:443", b"secret.test:",
            b"secret.test:8443", b"secret%2etest", b"secret.test,public.test",
        b"secret.test public.test", b"public.test@secret.test", b"secret.test/public.test", b"secret.test#public.test",
            b"secret.test\\.public.test",
        b"a.wild.test", b"a.b.wild.test", b"A.WILD.TEST", b"a.wild.test.", b"a.wild.test:443")],
    ("two hosts, the caller's own first", "RFC 9112 3.2", host(b"public.test\r\nhost: secret.test"), CONFUSED, TLS),
    ("two hosts, the caller's own last", "RFC 9112 3.2", host(b"secret.test\r\nhost: public.test"), CONFUSED, TLS),
    ("absolute form of another caller's host", "RFC 9112 3.2.2", host(b"public.test",
         target=b"http://secret.test/score/<TOKEN>"), CONFUSED, TLS),
    ("absolute form of one's own host, the field another's", "RFC 9112 3.2.2", host(b"secret.test",
         target=b"https://public.test/score/<TOKEN>"),
     (CONFUSED, passes()), TLS),
    ("a host that another host begins with", "threat 4", host(b"secret.test.public.test"), NotReached(frozenset([400, 403,
         404, 421])), TLS),
    ("a host that ends with another host", "threat 4", host(b"xsecret.test"), NotReached(frozenset([400, 403, 404, 421])),
         TLS),
    ("the name that a wildcard stands below", "threat 4", host(b"wild.test"), NotReached(frozenset([400, 403, 404, 421])),
         TLS),
    ("a name that a wildcard's is a suffix of", "threat 4", host(b"xwild.test"), NotReached(frozenset([400, 403, 404, 421])),
         TLS),
    ("a wildcard with no label before it", "threat 4", host(b".wild.test"), CONFUSED, TLS),
    *[(f"{name.decode()} does not choose the host", "threat 9", host(b"public.test", fields=A + name + b": secret.test\r\n"),
       (passes(Wanted()), FORBIDDEN), {"tls": True, "rules": Rules()})
      for name in (b"x-forwarded-host", b"x-host", b"x-original-host", b"x-forwarded-server", b"x-http-host-override",
          b"forwarded")],
    ("another caller's host, with its key", "threat 4", host(b"secret.test", fields=B), passes(), {"tls": True,
         "rules": TEAM_B}),
    ("another caller's host by wildcard, with its key", "threat 4", host(b"a.wild.test", fields=B), passes(), {"tls": True,
         "rules": TEAM_B}),
    ("one's own host", "threat 4", host(b"public.test"), passes(), TLS),
    ("one's own host in capitals", "RFC 3986 3.2.2", host(b"PUBLIC.test"), passes(), TLS),
    ("one's own host, and the host of the certificate is another", "threat 13", host(b"localhost"), passes(), TLS),
])


def sni_and_host(lane, name, asked, expect):
    """TLS is asked for one name, the request is for another host."""
    talk = lane.talk()
    talk.close()
    talk.sock = dial(lane.ports.tls, tls=unverified(), name=name)
    talk.send(lane.fill(host(asked)), b"GET")
    talk.read_answers(1)
    demand(talk.answers, Outcome.HUNG, "no answer")
    lane.judge(talk, expect)


def sni_and_authority(lane):
    """The same over HTTP/2, where clients do share connections between hosts (RFC 9113 section 9.1.1)."""
    one = Http2(lane.ports.tls, unverified("h2"), name="localhost")
    lane.talks.append(one)
    one.until(lambda: one.settings or one.end)
    one.send(head(request(authority=b"other.test"))(lane), head(request(authority=b"public.test"), 3)(lane))
    one.finish(1, 3)
    demand(one.stream(1).status == 421, Outcome.BYPASS, f"another certificate's host: {one.state()}")
    demand(one.stream(3).status == 200, Outcome.WRONG, f"a host of the same certificate: {one.state()}")
    lane.canary()


def unverified(*protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


MISDIRECTED = Refuse(frozenset([421]), forwarded=Outcome.BYPASS)
CERTIFICATES = {"needs": frozenset(["certificates"])}
NAMES = [
    Case(title, "auth", "hosts", "RFC 9110 7.4", partial(sni_and_host, name=name, asked=asked, expect=expect), **others)
        for title, name, asked, expect, others in (
        ("one name in TLS, another caller's in the request", "public.test", b"secret.test", CONFUSED, {}),
        ("a host that has another certificate than the connection", "localhost", b"other.test", MISDIRECTED, CERTIFICATES),
        ("a host that has the default certificate where another was shown", "other.test", b"public.test", MISDIRECTED,
             CERTIFICATES),
        ("a host with its own certificate", "other.test", b"other.test", passes(), CERTIFICATES),
        ("a host in capitals that has another certificate", "localhost", b"OTHER.test", MISDIRECTED, CERTIFICATES),
        ("a host with a dot that has another certificate", "localhost", b"other.test.", Refuse(frozenset([400, 421]),
             forwarded=Outcome.BYPASS), CERTIFICATES),
    )
] + [Case("hosts of two certificates on one connection of HTTP/2", "auth", "hosts", "RFC 9113 9.1.2", sni_and_authority,
    **CERTIFICATES)]
CASES = ADMIN + BASES + HOSTS + NAMES
