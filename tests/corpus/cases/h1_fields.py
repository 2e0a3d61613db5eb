"""Names, values, numbers and sizes of fields (RFC 9110 section 5, RFC 9112 section 5)."""

from ..core.h1 import AUTH, GET, HOST, POST, REFUSE, passes, post, sized, table
from ..core.judge import Refuse, Wanted

TOO_LARGE = Refuse(frozenset([400, 431]))
BODY_TOO_LARGE = Refuse(frozenset([413]), cut_ok=True)


def field(name, section, text, expect):
    return name, section, GET + text + b"\r\n\r\n", expect


FIELDS = table("h1", "fields", [
    field("no colon", "RFC 9112 5", b"x-a", REFUSE),
    field("no name", "RFC 9112 5", b": b", REFUSE),
    field("a space before the colon", "RFC 9112 5.1", b"x-a : b", REFUSE),
    field("a tab before the colon", "RFC 9112 5.1", b"x-a\t: b", REFUSE),
    field("a space within the name", "RFC 9110 5.1", b"x a: b", REFUSE),
    field("a name in parentheses", "RFC 9110 5.1", b"(x-a): b", REFUSE),
    field("a name in quotes", "RFC 9110 5.1", b"\"x-a\": b", REFUSE),
    field("a name with a slash", "RFC 9110 5.1", b"x/a: b", REFUSE),
    field("a name with an at sign", "RFC 9110 5.1", b"x@a: b", REFUSE),
    field("a name with a comma", "RFC 9110 5.1", b"x,a: b", REFUSE),
    field("a name with an equals sign", "RFC 9110 5.1", b"x=a: b", REFUSE),
    field("a name with brackets", "RFC 9110 5.1", b"x[a]: b", REFUSE),
    field("a name with a backslash", "RFC 9110 5.1", b"x\\a: b", REFUSE),
    field("a pseudo-header of HTTP/2", "RFC 9110 5.1", b":path: /admin", REFUSE),
    field("a name with an underscore", "threat 9", b"x_a: b", REFUSE),
    field("a name with a dot", "threat 9", b"x.a: b", REFUSE),
    field("an empty value passes", "RFC 9110 5.5", b"x-a:", passes(Wanted(has=((b"x-a", b""),)))),
    field("a value of spaces passes as an empty one", "RFC 9112 5.1", b"x-a: \t ", passes(Wanted(has=((b"x-a", b""),)))),
    field("a value without a space before it passes", "RFC 9112 5.1", b"x-a:b", passes(Wanted(has=((b"x-a", b"b"),)))),
    field("a value with a colon passes", "RFC 9110 5.5", b"x-a: b: c:d", passes(Wanted(has=((b"x-a", b"b: c:d"),)))),
    field("a value with tabs inside passes", "RFC 9110 5.5", b"x-a: b\tc", passes(Wanted(has=((b"x-a", b"b\tc"),)))),
    field("a name with every sign of a token but underscore and dot", "RFC 9110 5.6.2", b"x!#$%&'*+-^`|~9: b",
          (passes(Wanted(has=((b"x!#$%&'*+-^`|~9", b"b"),))), REFUSE)),
    ("fields of one name keep their order", "RFC 9110 5.3", GET + b"x-a: 1\r\nx-b: 2\r\nx-a: 3\r\n\r\n",
     passes(Wanted(has=((b"x-b", b"2"),)))),
])

LIMITS = table("h1", "limits", [
    ("a thousand fields", "RFC 6585 5", GET + b"".join(b"x-%d: b\r\n" % n for n in range(1000)) + b"\r\n", TOO_LARGE),
    ("eighty fields pass", "RFC 9110 5.4", GET + b"".join(b"x-%d: b\r\n" % n for n in range(80)) + b"\r\n",
     passes(Wanted(has=((b"x-79", b"b"),)))),
    ("a name of 64 KiB", "RFC 9110 5.4", GET + b"x" * 65536 + b": b\r\n\r\n", TOO_LARGE),
    ("a value of 64 KiB", "RFC 9110 5.4", GET + b"x-a: " + b"b" * 65536 + b"\r\n\r\n", TOO_LARGE),
    ("a value of 8 KiB passes", "RFC 9110 5.4", GET + b"x-a: " + b"b" * 8000 + b"\r\n\r\n", passes(Wanted(has=((b"x-a",
         b"b" * 8000),)))),
    ("a target of 6 KiB passes", "RFC 9110 4.1",
         b"GET /score/<TOKEN>" + b"a" * 6000 + b" HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
     passes(Wanted(target=b"/score/<TOKEN>" + b"a" * 6000))),
    ("a head without an end", "RFC 9112 3", GET + b"x-a: b\r\n" * 20000, TOO_LARGE),
    ("a line without an end", "RFC 9112 3", b"GET /" + b"a" * 200000, Refuse(frozenset([400, 414, 431]))),
    ("a body over its route's limit, by length", "RFC 9110 15.5.14",
     sized(POST.replace(b"/score/", b"/small/"), b"x" * 2000), BODY_TOO_LARGE),
    ("a body over its route's limit, in chunks", "RFC 9110 15.5.14",
     POST.replace(b"/score/",
         b"/small/") + b"transfer-encoding: chunked\r\n\r\n" + (b"200\r\n" + b"x" * 512 + b"\r\n") * 4 + b"0\r\n\r\n",
     BODY_TOO_LARGE),
    ("a body at its route's limit passes", "RFC 9110 15.5.14", sized(POST.replace(b"/score/", b"/small/"), b"x" * 1024),
     passes(post(b"x" * 1024, target=b"/small/<TOKEN>"))),
    ("a body of 3 MiB passes", "RFC 9112 6.2", sized(POST, b"0123456789abcdef" * (3 << 16)),
         passes(post(b"0123456789abcdef" * (3 << 16)))),
])

CASES = FIELDS + LIMITS
