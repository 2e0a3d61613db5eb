"""Fields that claim another method, path, address or trust; the admin side; secrets in what the gate says; time (threats 6, 9, 14)."""

import http.client
import re
import statistics
import time

from ..core.auth import BYPASS, HOST, UNKNOWN, passes, table, with_line
from ..core.case import Case, Outcome, demand
from ..core.judge import Refuse, Wanted
from ..core.talk import Talk

A = b"authorization: Bearer <KEY-A>\r\n"
DENIED = Refuse(frozenset([400, 403, 404]), forwarded=BYPASS)
NOT_ALLOWED = Refuse(frozenset([400, 405]), forwarded=BYPASS)
NOT_SERVED = Refuse(frozenset([400, 401, 403, 404, 405, 421]), forwarded=BYPASS)


def trusts_nobody(name, fields, section="threat 9"):
    """Without a key: still nobody."""
    return name, section, with_line(fields), UNKNOWN


OVERRIDES = table("overrides", [
    *[(f"{name.decode()} does not lead away from a denied path", "threat 6", with_line(A + name + b": /score\r\n",
      path=b"/admin"), DENIED)
      for name in (b"x-original-url", b"x-rewrite-url", b"x-forwarded-path", b"x-forwarded-uri", b"x-original-uri",
          b"x-forwarded-prefix", b"x-envoy-original-path")],
    *[(f"{name.decode()} does not change the method", "threat 6", with_line(A + name + b": GET\r\ncontent-length: 0\r\n",
      path=b"/read", method=b"POST"), NOT_ALLOWED)
      for name in (b"x-http-method-override", b"x-http-method", b"x-method-override")],
    ("a method in the query does not change it", "threat 6", with_line(A + b"content-length: 0\r\n",
         path=b"/read?_method=GET", method=b"POST"), NOT_ALLOWED),
    *[trusts_nobody(f"{name.decode()}: {value.decode()}", name + b": " + value + b"\r\n") for name, value in (
        (b"x-forwarded-for", b"127.0.0.1"), (b"x-real-ip", b"127.0.0.1"), (b"forwarded", b"for=127.0.0.1"), (b"x-client-ip",
            b"127.0.0.1"), (b"true-client-ip", b"127.0.0.1"),
        (b"x-custom-ip-authorization", b"127.0.0.1"), (b"x-forwarded-host", b"localhost"), (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-client-cert", b"By=x;Subject=team-a"),
        (b"x-ssl-client-verify", b"SUCCESS"), (b"ssl-client-verify", b"SUCCESS"), (b"x-arr-clientcert", b"MIIB"),
            (b"x-ms-client-principal-name", b"team-a"),
        (b"x-remote-user", b"team-a"), (b"remote-user", b"team-a"), (b"x-authenticated", b"true"), (b"x-auth-subject",
            b"team-a"), (b"x-internal", b"1"), (b"x-debug", b"1"),
        (b"user-agent", b"kube-probe/1.30"), (b"user-agent", b"ELB-HealthChecker/2.0"), (b"user-agent", b"GoogleHC/1.0"),
            (b"user-agent", b"Azure-Load-Balancer-Agent"),
        (b"referer", b"http://localhost/admin"), (b"origin", b"http://localhost"), (b"x-requested-with", b"XMLHttpRequest"),
            (b"upgrade-insecure-requests", b"1"),
    )],
    # gRPC reads its own status behind a 200 (interface of the gate); what matters is that nobody is served.
    ("content-type: application/grpc", "threat 7", with_line(b"content-type: application/grpc\r\n"),
     Refuse(frozenset([200, 400, 401, 403]), forwarded=BYPASS)),
    *[(f"the path of health checks {path.decode()} opens nothing", "threat 9", with_line(b"", path=path), NOT_SERVED)
      for path in (b"/healthz", b"/health", b"/livez", b"/readyz", b"/ready", b"/ping", b"/.well-known/health",
          b"/robots.txt", b"/favicon.ico")],
    *[(f"{method.decode()} without a key", "threat 7", with_line(b"", method=method), Refuse(frozenset([400, 401, 403, 405,
      501]), forwarded=BYPASS))
      for method in (b"OPTIONS", b"HEAD", b"POST", b"PUT", b"X", b"TRACE", b"DEBUG", b"PURGE", b"PROPFIND")],
    ("a preflight of a browser without a key", "threat 7",
     with_line(b"origin: http://evil.test\r\naccess-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n", method=b"OPTIONS"), UNKNOWN),
    ("a request of HTTP/1.0 without a key", "threat 7", with_line(b"").replace(b"HTTP/1.1", b"HTTP/1.0"), UNKNOWN),
    ("a second request without a key behind one with a key", "threat 7", with_line(A) + with_line(b"",
         path=b"/score/<TOKEN>/2"),
     Refuse(frozenset([401]), before=(Wanted(),), forwarded=BYPASS), {"methods": (b"GET", b"GET")}),
])

ADMIN_PATHS = (b"/metrics", b"/status", b"/config", b"/reload", b"/drain", b"/endpoints/main0/keys", b"/log-level",
    b"/operations/1", b"/stats", b"/server-status",
               b"/nginx_status", b"/haproxy?stats", b"/config_dump", b"/quitquitquit")
ADMIN = table("admin", [
    *[(f"{path.decode()} on the public side", "threat admin", with_line(b"", path=path), NOT_SERVED)
      for path in ADMIN_PATHS],
    ("the admin side by name in absolute form", "threat admin",
         b"GET http://127.0.0.1:9901/status HTTP/1.1\r\nhost: 127.0.0.1:9901\r\n\r\n", NOT_SERVED),
    ("the admin side by its host", "threat admin", b"GET /status HTTP/1.1\r\nhost: localhost:9901\r\n\r\n", NOT_SERVED),
    ("the admin side behind dots", "threat admin", with_line(b"", path=b"/score/../../status"), NOT_SERVED),
    ("the drain order with a caller's key is a request like others", "threat admin", with_line(A + b"content-length: 0\r\n",
         path=b"/drain", method=b"POST"),
     (passes(Wanted(b"POST", b"/drain")), NOT_SERVED)),
    ("CONNECT to the admin side", "threat admin",
         b"CONNECT 127.0.0.1:9901 HTTP/1.1\r\nhost: 127.0.0.1:9901\r\n" + A + b"\r\n", Refuse(forwarded=BYPASS)),
])


def admin_case(name, method, path, headers, statuses):
    """On the admin side itself."""
    def play(lane):
        connection = http.client.HTTPConnection("127.0.0.1", lane.target.admin_port, timeout=8)
        connection.putrequest(method, path, skip_host=any(key == "host" for key, _ in headers))
        for key, value in headers:
            connection.putheader(key, lane.fill(value.encode()).decode())
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        demand(answer.status in statuses, Outcome.BYPASS if answer.status < 300 else Outcome.WRONG,
            f"answered {answer.status} {body[:200]!r}")
        for key in vars(lane.keys).values():
            demand(key.encode() not in body, Outcome.CROSSED, "a key is in the answer")
        lane.canary()

    return Case(name, "auth", "admin", "threat admin", play, needs=frozenset(["admin"]))


ADMIN_SIDE = [
    admin_case("the configuration without a token", "GET", "/config", [], [401]),
    admin_case("the configuration with a caller's key", "GET", "/config", [("authorization", "Bearer <KEY-A>")], [401, 403]),
    admin_case("the configuration with the service's key", "GET", "/config", [("authorization", "Bearer <SERVICE>")], [401,
        403]),
    admin_case("the order to drain from a web page", "POST", "/drain", [("origin", "http://evil.test"), ("content-length",
        "0")], [401, 403]),
    admin_case("the status by another name, as DNS rebinding does", "GET", "/status", [("host", "evil.test")], [403, 421]),
    admin_case("the metrics by another name", "GET", "/metrics", [("host", "evil.test:80")], [403, 421]),
    admin_case("the order to reload without a token", "POST", "/reload", [("content-length", "0")], [401]),
    admin_case("the keys of an endpoint without a token", "GET", "/endpoints/main0/keys", [], [401]),
    admin_case("the configuration by dots", "GET", "/livez/../config", [], [400, 401, 403, 404]),
    admin_case("the configuration by two slashes", "GET", "//config", [], [400, 401, 403, 404]),
    admin_case("the configuration by HEAD", "HEAD", "/config", [], [401, 405]),
    admin_case("a path of scoring on the admin side", "GET", "/score", [("authorization", "Bearer <KEY-A>")], [401, 403,
        404]),
]


# ---- secrets in any output ----

def says_no_secret(lane, request, method=b"GET", allowed=()):
    """Whatever the gate answers holds no key: neither the caller's nor the service's."""
    with lane.talk() as talk:
        talk.send(lane.fill(request), method)
        talk.read_answers(1)
        demand(talk.answers or talk.end, Outcome.HUNG, "no answer")
        for name, key in vars(lane.keys).items():
            demand(name in allowed or key.encode() not in talk.raw, Outcome.CROSSED,
                f"the key {name!r} is in the answer: {bytes(talk.raw[:400])!r}")
        if talk.answers:
            demand(talk.answers[0].status < 500, Outcome.BLAMED, f"answered {talk.answers[0].status}")
    lane.canary()


def leak(name, request, method=b"GET"):
    return Case(name, "auth", "leaks", "threat secrets", lambda lane: says_no_secret(lane, request, method))


def reflected(lane):
    """What a caller sends into a refusal does not come back as markup, nor as a field."""
    with lane.talk() as talk:
        talk.send(lane.fill(with_line(b"", path=b"/score/<TOKEN>%3cscript%3e") .replace(b"host: localhost",
            b"host: localhost\r\nx-request-id: \"><script>")), b"GET")
        talk.read_answers(1)
        demand(talk.answers and talk.answers[0].status in (400, 401), Outcome.WRONG, f"answered {bytes(talk.raw[:200])!r}")
        kind = talk.answers[0].all(b"content-type")
        demand(b"<script>" not in talk.answers[0].body or kind == [b"application/json"], Outcome.CROSSED,
            f"markup in {kind!r}: {talk.answers[0].body!r}")
    lane.canary()


def error_names_nobody(lane):
    """A refusal does not tell where the upstream is, nor which callers there are."""
    async def silent(wire):
        await wire.request()
        wire.reset()

    lane.upstream.script = silent
    with lane.talk() as talk:
        talk.send(lane.fill(with_line(A + b"content-length: 0\r\n", method=b"POST")), b"POST")
        talk.read_answers(1)
        demand(talk.answers and talk.answers[0].status in (502, 503), Outcome.WRONG, f"answered {bytes(talk.raw[:200])!r}")
        for secret in (str(lane.upstream.port).encode(), b"team-a", b"main0"):
            demand(secret not in talk.answers[0].raw, Outcome.CROSSED, f"{secret!r} is in {talk.answers[0].raw!r}")
    lane.upstream.begin()
    lane.canary()


def log_has_no_secret(lane):
    """Everything that the gate has written so far, and everything that its admin side says."""
    for _where, text in (("query", b"GET /score/<TOKEN>?api_key=<KEY-A> HTTP/1.1\r\n" + HOST + A + b"\r\n"),
                       ("cookie", with_line(A + b"cookie: key=<KEY-A>\r\n")),
                       ("a broken head", b"GET /score HTTP/1.1\r\nauthorization: Bearer <KEY-A>\0\r\n\r\n"),
                       ("a host", b"GET /score HTTP/1.1\r\nhost: <KEY-A>\r\n\r\n")):
        with lane.talk() as talk:
            talk.send(lane.fill(text), b"GET")
            talk.read_answers(1)
    lane.canary()
    lane.target.gate.search()
    lane.target.gate.search_logs()


LEAKS = [
    leak("a refusal of a wrong key", with_line(b"authorization: Bearer x<KEY-A>\r\n")),
    leak("a refusal of two keys", with_line(A + b"x-api-key: <KEY-B>\r\n")),
    leak("a refusal of a path without a form", b"GET /nowhere/%zz HTTP/1.1\r\n" + HOST + A + b"\r\n"),
    leak("a refusal of a key in the host", b"GET /score HTTP/1.1\r\nhost: <KEY-A>@localhost\r\n" + A + b"\r\n"),
    leak("a refusal of a head with a key in a broken line",
        b"GET /score HTTP/1.1\r\n" + HOST + b"authorization Bearer <KEY-A>\r\n\r\n"),
    leak("a refusal of a head with a key that is too large", with_line(A + b"x-a: " + b"<KEY-A>" * 2000 + b"\r\n")),
    leak("a refusal of TRACE does not echo", with_line(A, method=b"TRACE")),
    leak("a refusal of a body that is too large", with_line(A + b"content-length: 5000\r\n", path=b"/small/x",
        method=b"POST") + b"x" * 5000, b"POST"),
    Case("a refusal does not reflect markup", "auth", "leaks", "threat secrets", reflected),
    Case("a failure of the upstream does not tell where it is", "auth", "leaks", "threat secrets", error_names_nobody),
    Case("no key in logs, metrics, status and configuration", "auth", "leaks", "threat secrets", log_has_no_secret,
        needs=frozenset(["logs"]), alone=True),
]


# ---- time ----

def takes_no_longer(lane):
    """A key that is right but for its last byte is refused as fast as one that is wrong from its first, within what can be measured.

    Interleaved, so that whatever else the machine does falls on both alike.
    """
    near, far = lane.keys.a[:-1] + "x", "x" * len(lane.keys.a)
    took = {near: [], far: []}
    with lane.talk() as talk:
        for turn in range(400):
            for key in (near, far) if turn % 2 else (far, near):
                text = with_line(b"authorization: Bearer " + key.encode() + b"\r\n")
                began = time.perf_counter()
                talk.send(lane.fill(text), b"GET")
                demand(talk.read_answers(1), Outcome.HUNG, f"no refusal: {talk.end}")
                took[key].append(time.perf_counter() - began)
                demand(talk.answers.pop().status == 401, Outcome.BYPASS, "a wrong key is not refused")
    near, far = (statistics.median(times) for times in took.values())
    demand(abs(near - far) < 0.25 * far, Outcome.CROSSED, f"median {near * 1e6:.1f} µs near, {far * 1e6:.1f} µs far")
    lane.canary()


def same_refusal(lane):
    """Refusals of an unknown key and of a key that is nearly right are the same, but for the id and the date."""
    texts = set()
    for key in (lane.keys.a[:-1] + "x", "x" * len(lane.keys.a), lane.keys.a[:-1], "x"):
        with Talk(lane.ports.plain) as talk:
            talk.send(lane.fill(with_line(b"authorization: Bearer " + key.encode() + b"\r\n")), b"GET")
            demand(talk.read_answers(1), Outcome.HUNG, "no refusal")
            demand(talk.answers[0].status == 401, Outcome.BYPASS, f"answered {talk.answers[0].status}")
            texts.add(re.sub(rb"[0-9a-f]{32}|date: [^\r]*", b"", bytes(talk.raw)))
    demand(len(texts) == 1, Outcome.CROSSED, f"refusals differ: {texts}")
    lane.canary()


TIMING = [
    Case("a key that is nearly right takes no longer", "auth", "timing", "threat timing", takes_no_longer, alone=True),
    Case("a key that is nearly right is refused in the same words", "auth", "timing", "threat timing", same_refusal),
]
CASES = OVERRIDES + ADMIN + ADMIN_SIDE + LEAKS + TIMING
