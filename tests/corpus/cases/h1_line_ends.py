"""Line ends, folds, NUL, and bytes that are no text (RFC 9112 sections 2.2 and 5.2)."""

from ..core.h1 import AUTH, GET, HOST, NO_REQUEST, REFUSE, SMUGGLED, passes, post, sized, table, POST
from ..core.judge import Refuse, Rules, Wanted

LINE = b"GET /score/<TOKEN> HTTP/1.1"
# A recipient may take a bare LF for a line end (RFC 9112 section 2.2): then every server must see the same.
LF = (NO_REQUEST, passes())
FOLDED = (REFUSE, passes(Wanted(has=((b"x-a", b"b c"),))))

CASES = table("h1", "line ends", [
    ("LF behind the request line", "RFC 9112 2.2", LINE + b"\n" + HOST + AUTH + b"\r\n", LF),
    ("LF behind a field", "RFC 9112 2.2", LINE + b"\r\n" + HOST + b"x-a: b\n" + AUTH + b"\r\n", LF),
    ("LF for every line end", "RFC 9112 2.2", (GET + b"\r\n").replace(b"\r\n", b"\n"), LF),
    ("LF for the empty line", "RFC 9112 2.2", GET + b"\n", LF),
    ("LF for the empty line, and a request behind it", "RFC 9112 2.2", GET + b"\n" + SMUGGLED,
     (NO_REQUEST, Refuse(frozenset([401, 403]), before=(Wanted(),))), {"methods": (b"GET", b"GET")}),
    ("LF behind a field that holds another field", "RFC 9112 2.2", GET + b"x-a: b\nx-auth-subject: spoofed\r\n\r\n", LF),
    ("CR behind the request line", "RFC 9112 2.2", LINE + b"\r" + HOST + AUTH + b"\r\n", REFUSE),
    ("CR within the request line", "RFC 9112 2.2", b"GET /score/<TOKEN>\r HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE),
    ("CR behind a field", "RFC 9112 2.2", GET + b"x-a: b\rx-b: c\r\n\r\n", REFUSE),
    ("CR within a name", "RFC 9110 5.1", GET + b"x\r-a: b\r\n\r\n", REFUSE),
    ("CR before a line end", "RFC 9112 2.2", GET + b"x-a: b\r\r\n\r\n", REFUSE),
    ("CR alone on a line", "RFC 9112 2.2", GET + b"\r\r\n\r\n", REFUSE),
    ("CR CR LF for the empty line", "RFC 9112 2.2", GET + b"\r\r\n", NO_REQUEST, {"fin": True}),
    ("LF CR for a line end", "RFC 9112 2.2", GET + b"x-a: b\n\rx-b: c\r\n\r\n", REFUSE),
    ("an empty line before the request", "RFC 9112 2.2", b"\r\n" + GET + b"\r\n", (passes(), NO_REQUEST), {"methods": (b"GET",)}),
    ("ten thousand empty lines before the request", "RFC 9112 2.2", b"\r\n" * 10000 + GET + b"\r\n",
     (NO_REQUEST, passes()), {"methods": (b"GET",)}),
    ("a line of spaces before the request", "RFC 9112 2.2", b"  \r\n" + GET + b"\r\n", NO_REQUEST, {"methods": (b"GET",)}),
    ("a space before the first field", "RFC 9112 2.2", LINE + b"\r\n " + HOST + AUTH + b"\r\n", NO_REQUEST),
    ("a tab before the first field", "RFC 9112 2.2", LINE + b"\r\n\tx-a: b\r\n" + HOST + AUTH + b"\r\n", NO_REQUEST),
    ("a field folded with a space", "RFC 9112 5.2", GET + b"x-a: b\r\n c\r\n\r\n", FOLDED),
    ("a field folded with a tab", "RFC 9112 5.2", GET + b"x-a: b\r\n\tc\r\n\r\n", FOLDED),
    ("a fold that looks like a field", "RFC 9112 5.2", GET + b"x-a: b\r\n x-auth-subject: spoofed\r\n\r\n", REFUSE),
    ("a folded length", "RFC 9112 5.2", POST + b"content-length:\r\n 5\r\n\r\nhello", (REFUSE, passes(post(b"hello")))),
    ("a fold of white space alone", "RFC 9112 5.2", GET + b"x-a: b\r\n \r\nx-b: c\r\n\r\n", REFUSE),
    ("a fold that ends the head for some", "RFC 9112 5.2", GET + b"x-a: b\r\n \r\n" + SMUGGLED, REFUSE),
    ("NUL in a value", "RFC 9110 5.5", GET + b"x-a: b\0c\r\n\r\n", REFUSE),
    ("NUL in a name", "RFC 9110 5.1", GET + b"x\0a: b\r\n\r\n", REFUSE),
    ("NUL in the target", "RFC 9112 3.2", b"GET /score/<TOKEN>\0.txt HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE),
    ("NUL in the method", "RFC 9110 9.1", b"G\0ET /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE),
    ("NUL before the request", "RFC 9112 2.2", b"\0" + GET + b"\r\n", NO_REQUEST, {"methods": (b"GET",)}),
    ("NUL behind the head", "RFC 9112 2.2", GET + b"\r\n\0\0\0\0\r\n\r\n", Refuse(before=(Wanted(),), silent_ok=True, closes=True), {"answers": 2}),
    ("DEL in a value", "RFC 9110 5.5", GET + b"x-a: b\x7fc\r\n\r\n", REFUSE),
    ("ESC in a value", "RFC 9110 5.5", GET + b"x-a: \x1b[2J\r\n\r\n", REFUSE),
    ("a vertical tab in a value", "RFC 9110 5.5", GET + b"x-a: b\x0bc\r\n\r\n", REFUSE),
    ("a backspace in a name", "RFC 9110 5.1", GET + b"x-a\x08: b\r\n\r\n", REFUSE),
    ("a name with letters beyond ASCII", "RFC 9110 5.1", GET + b"x-\xc3\xa4: b\r\n\r\n", REFUSE),
    ("a value with bytes beyond ASCII passes as it is", "RFC 9110 5.5", GET + b"x-a: \xc3\xa4\xff\r\n\r\n",
     (passes(Wanted(has=((b"x-a", b"\xc3\xa4\xff"),))), REFUSE)),
    ("a target with bytes beyond ASCII", "RFC 9112 3.2", b"GET /score/<TOKEN>/\xc3\xa4 HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE),
    ("CR LF escaped in the target", "RFC 3986 2.1",
     b"GET /score/<TOKEN>%0d%0ax-auth-subject:%20spoofed HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE,
     {"rules": Rules(spoof_may_pass=True)}),
    ("CR LF escaped in the query passes as it is", "RFC 3986 2.1",
     b"GET /score/<TOKEN>?a=%0d%0ax-b:%20c HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
     (passes(Wanted(target=b"/score/<TOKEN>?a=%0d%0ax-b:%20c")), REFUSE)),
    ("LF in a value over a segment's border", "RFC 9112 2.2", [GET + b"x-a: b", b"\n", b"x-b: c\r\n\r\n"], LF),
    ("a head that comes byte by byte", "RFC 9112 2.2", GET + b"\r\n", passes(), {"bytewise": True}),
    ("a NUL in a body passes as it is", "RFC 9112 6", sized(POST, b"a\0b\r\n\xff"), passes(post(b"a\0b\r\n\xff"))),
])
