"""Sound answers that must arrive as they are, and redirects that the gate must leave to its client."""

import socket

from ..core.answers import OK, BadGateway, Delivered, replies, table, upstream_says
from ..core.case import Case, Outcome, demand
from ..core.h1 import GET

END = b"\r\ncontent-length: 5\r\n\r\nhello"


def status(code, reason):
    return f"{code} passes", "RFC 9110 15", replies(b"HTTP/1.1 %d %b" % (code, reason) + END), Delivered(code)


def gone(name, section, text, *names):
    """These fields end at this hop."""
    return name, section, replies(OK + text + END), Delivered(lacks=names)


def kept(name, section, text, *fields):
    return name, section, replies(OK + text + END), Delivered(has=fields)


SOUND = table("answers: passed on", [
    status(201, b"Created"), status(400, b"Bad Request"), status(429, b"Too Many"),
    status(500, b"Internal"), status(502, b"Bad Gateway"), status(503, b"Unavailable"), status(599, b"Odd"),
    # A field of the inference server's shows that the model ran; without it the front end speaks of the gate's own credential.
    ("401 of the model's own passes", "RFC 9110 15", replies(b"HTTP/1.1 401 Unauthorized\r\nx-ms-run-fn-exec-ms: 1.000" + END),
     Delivered(401)),
    ("401 about the gate's credential does not", "threat 1", replies(
        b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 4\r\n\r\nEVIL"),
     BadGateway(cut_ok=False, statuses=frozenset([503]))),
    kept("fields of the service pass", "RFC 9110 7.6", b"x-ms-request-id: 1\r\nms-azureml-model-error-statuscode: 409",
         (b"x-ms-request-id", b"1"), (b"ms-azureml-model-error-statuscode", b"409")),
    kept("a coding of the content passes", "RFC 9110 8.4", b"content-encoding: gzip\r\netag: \"a\"", (b"content-encoding",
        b"gzip"), (b"etag", b"\"a\"")),
    kept("a value beyond ASCII passes", "RFC 9110 5.5", b"x-a: \xc3\xa4", (b"x-a", b"\xc3\xa4")),
    gone("Keep-Alive ends here", "RFC 9110 7.6.1", b"keep-alive: timeout=5\r\nx-a: b", b"keep-alive"),
    gone("Proxy-Connection ends here", "RFC 9112 C.2.2", b"proxy-connection: close", b"proxy-connection"),
    gone("Upgrade ends here", "RFC 9110 7.8", b"upgrade: h2c\r\nconnection: upgrade", b"upgrade"),
    gone("what Connection names ends here", "RFC 9110 7.6.1", b"connection: x-a\r\nx-a: b", b"x-a"),
    gone("a second Connection is read, too", "RFC 9110 7.6.1", b"connection: keep-alive\r\nconnection: x-b\r\nx-b: c",
        b"x-b"),
    ("a length that Connection names", "RFC 9110 7.6.1", replies(OK + b"connection: content-length" + END), Delivered()),
    ("the length of an answer to HEAD passes", "RFC 9110 8.6", replies(OK + b"content-length: 12345\r\n\r\n"),
     Delivered(body=b"", has=((b"content-length", b"12345"),)), {"request": (GET + b"\r\n").replace(b"GET", b"HEAD"),
         "method": b"HEAD"}),
    ("204 passes", "RFC 9110 15.3.5", replies(b"HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n"), Delivered(204, b"",
         has=((b"x-a", b"b"),))),
    ("304 passes with its length", "RFC 9110 15.4.5", replies(b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"),
         Delivered(304, b"", has=((b"etag", b"\"a\""),))),
    ("an empty answer in chunks", "RFC 9112 7.1", replies(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
         Delivered(body=b"")),
    ("trailers of an answer pass", "RFC 9110 6.5",
         replies(OK + b"transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"),
     (Delivered(trailers=((b"x-sum", b"1"),)), Delivered(trailers=()))),
    ("a trailer with a length does not pass", "RFC 9110 6.5.1",
     replies(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 100\r\n\r\n"),
         Delivered(trailers=())),
    ("a trailer with a coding does not pass", "RFC 9110 6.5.1",
     replies(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"), Delivered(trailers=())),
    ("a thousand small chunks arrive whole", "RFC 9112 7.1",
     replies(OK + b"transfer-encoding: chunked\r\n\r\n" + b"4\r\nwxyz\r\n" * 1000 + b"0\r\n\r\n"),
         Delivered(body=b"wxyz" * 1000)),
    ("4 MiB arrive whole", "RFC 9112 6.2",
         replies(OK + b"content-length: 4194304\r\n\r\n" + b"0123456789abcdef" * (1 << 18)),
     Delivered(body=b"0123456789abcdef" * (1 << 18))),
    ("two cookies stay two", "RFC 6265 3", replies(OK + b"set-cookie: a=1\r\nset-cookie: b=2" + END), Delivered()),
])


def redirected(lane, status_line, fields, lacks=()):
    """The client gets the redirect. Nobody goes where it points, least of all with the service's key."""
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.setblocking(False)
        place = b"http://127.0.0.1:%d/stolen" % trap.getsockname()[1]
        reply = b"HTTP/1.1 " + status_line + b"\r\n" + fields.replace(b"<PLACE>", place) + END
        code = int(status_line[:3])
        upstream_says(lane, replies(reply), Delivered(code, lacks=lacks))
        seen = lane.upstream.seen()
        demand(len(seen.requests) == 1, Outcome.BYPASS, f"the upstream was asked {len(seen.requests)} times")
        try:
            other, _ = trap.accept()
        except BlockingIOError:
            return
        with other:
            raise AssertionError("the gate went where a redirect points")


def redirect(name, section, status_line, fields, *lacks):
    return Case(name, "answers", "redirects", section, lambda lane: redirected(lane, status_line, fields, lacks))


REDIRECTS = [
    redirect("301 to another place", "RFC 9110 15.4.2", b"301 Moved Permanently", b"location: <PLACE>"),
    redirect("302 to another place", "RFC 9110 15.4.3", b"302 Found", b"location: <PLACE>"),
    redirect("303 to another place", "RFC 9110 15.4.4", b"303 See Other", b"location: <PLACE>"),
    redirect("307 to another place", "RFC 9110 15.4.8", b"307 Temporary Redirect", b"location: <PLACE>"),
    redirect("308 to another place", "RFC 9110 15.4.9", b"308 Permanent Redirect", b"location: <PLACE>"),
    redirect("305 to another proxy", "RFC 9110 15.4.6", b"305 Use Proxy", b"location: <PLACE>"),
    redirect("302 to the upstream's own admin path", "RFC 9110 15.4.3", b"302 Found", b"location: /admin"),
    redirect("200 with Refresh", "threat redirects", b"200 OK", b"refresh: 0; url=<PLACE>"),
    redirect("200 with an alternative service", "RFC 7838 3", b"200 OK",
        b"alt-svc: h2=\"127.0.0.1:1\"\r\ncontent-location: <PLACE>"),
    redirect("200 with words of other proxies for internal redirects", "threat redirects", b"200 OK",
             b"x-reproxy-url: <PLACE>"),
    redirect("401 with a challenge", "RFC 9110 11.6.1", b"401 Unauthorized",
        b"x-ms-run-fn-exec-ms: 1.000\r\nwww-authenticate: Basic realm=\"<PLACE>\""),
    # A challenge to the gate is not one to its client.
    redirect("407 with a challenge", "RFC 9110 11.7.1", b"407 Proxy Authentication Required",
        b"proxy-authenticate: Basic realm=\"x\"", b"proxy-authenticate"),
    redirect("302 with a challenge to the gate", "RFC 9110 11.7.1", b"302 Found",
        b"location: <PLACE>\r\nproxy-authenticate: Basic realm=\"x\"", b"proxy-authenticate"),
    redirect("302 with fields that end here", "RFC 9110 7.6.1", b"302 Found",
        b"location: <PLACE>\r\nconnection: x-a\r\nx-a: b", b"x-a"),
]
CASES = SOUND + REDIRECTS
