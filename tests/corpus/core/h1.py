"""Words for the tables of HTTP/1.1 cases."""

from functools import partial

from harness import secrets

from .case import Case
from .judge import Forward, Refuse, Wanted

HOST = b"host: localhost\r\n"
AUTH = b"authorization: Bearer <KEY-A>\r\n"
# The beginning of sound requests; what a case adds ends with the empty line.
GET = b"GET /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH
POST = b"POST /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
# What an attacker would like to be taken for a request of its own.
SMUGGLED = b"GET /admin/<TOKEN> HTTP/1.1\r\nhost: localhost\r\n\r\n"

# How long the marks are once they are filled in.
KEY_LENGTH = len(secrets.MARK) + 33
LENGTHS = {b"<TOKEN>": 12, b"<KEY-A>": KEY_LENGTH + 1, b"<KEY-B>": KEY_LENGTH + 1, b"<KEY-EXPIRED>": KEY_LENGTH + 7}

REFUSE = Refuse()
# Framing is in doubt: a refusal, and no further request on the connection.
REFUSE_AND_CLOSE = Refuse(closes=True)
# What the upstream sees of a body that breaks off is a request that is cut off.
REFUSE_CUT = Refuse(cut_ok=True, closes=True)
NO_REQUEST = Refuse(silent_ok=True, closes=True)


def sized(head, body):
    """A request with a body of a known length; `head` is without its empty line."""
    filled = body
    for mark, length in LENGTHS.items():
        filled = filled.replace(mark, b"x" * length)
    return head + b"content-length: %d\r\n\r\n" % len(filled) + body


def post(body=b"", **others):
    return Wanted(b"POST", body=body, **others)


def passes(*requests, **others):
    return Forward(requests or (Wanted(),), **others)


def table(corpus, klass, rows):
    """Cases from rows of: name, section, payload, expectation or several, and options of `Lane.converse` or of the case."""
    return [row_case(corpus, klass, *row) for row in rows]


def row_case(corpus, klass, name, section, payload, expect, options=None):
    options = dict(options or {})
    of_case = {key: options.pop(key) for key in ("needs", "profile", "alone") if key in options}
    if "methods" not in options:
        first = payload if isinstance(payload, bytes) else payload[0]
        options["methods"] = (first.split(b" ", 1)[0],)
    play = partial(converse, payload=payload, expect=expect, options=options)
    return Case(name, corpus, klass, section, play, **of_case)


def converse(lane, payload, expect, options):
    lane.converse(payload, expect, **options)
