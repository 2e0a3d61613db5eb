"""The PROXY protocol, where a listener takes it: one header, whole and sound, before anything else (HAProxy's specification of 2020-03-05)."""

from functools import partial

from ..core.case import Case, Outcome, demand
from ..core.h1 import GET
from ..core.judge import Forward, Refuse, Rules, Wanted
from ..core.talk import Talk

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = b"\x06\x06\x06\x06\x7f\0\0\x01\x30\x39\x00\x50"
ASK = GET + b"\r\n"
CLOSED = Refuse(silent_ok=True)


def second(command=0x21, family=0x11, part=ADDRESSES, length=None):
    """A header of version 2."""
    return SIGNATURE + bytes([command, family]) + (len(part) if length is None else length).to_bytes(2, "big") + part


def came_from(address):
    return Forward((Wanted(has=((b"x-forwarded-for", address),)),))


def play(lane, text, expect, bytewise=False):
    """Sends a header and a request; `expect` says what address the upstream is told, or that the connection ends."""
    talk = Talk(lane.ports.proxy)
    lane.talks.append(talk)
    talk.methods.append(b"GET")
    filled = lane.fill(text + ASK)
    for part in [bytes([byte]) for byte in filled] if bytewise else [filled]:
        talk.send(part)
    if expect is CLOSED:
        talk.half_close()
    talk.read_answers(1)
    if expect is CLOSED:
        demand(talk.read_end(), Outcome.HUNG, "the connection stays open")
    lane.judge(talk, expect, Rules())


def of(name, section, text, expect, **options):
    return Case(name, "auth", "proxy protocol", f"PROXY {section}", partial(play, text=text, expect=expect, **options),
        needs=frozenset(["proxy-protocol"]))


CASES = [
    of("version 1", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80\r\n", came_from(b"6.6.6.6")),
    of("version 1 over IPv6", "2.1", b"PROXY TCP6 2001:db8::6 ::1 12345 80\r\n", came_from(b"2001:db8::6")),
    of("version 1 that does not know", "2.1", b"PROXY UNKNOWN\r\n", came_from(b"127.0.0.1")),
    of("version 1 byte by byte", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80\r\n", came_from(b"6.6.6.6"), bytewise=True),
    of("version 2", "2.2", second(), came_from(b"6.6.6.6")),
    of("version 2 with more behind the addresses", "2.2", second(part=ADDRESSES + b"\x04\x00\x03abc"),
        came_from(b"6.6.6.6")),
    of("version 2 of the load balancer itself", "2.2", second(0x20, 0x00, b""), came_from(b"127.0.0.1")),
    of("version 2 byte by byte", "2.2", second(), came_from(b"6.6.6.6"), bytewise=True),
    *[of(name, section, text, CLOSED) for name, section, text in (
        ("no header", "2", b""),
        ("version 1 in small letters", "2.1", b"proxy tcp4 6.6.6.6 127.0.0.1 12345 80\r\n"),
        ("version 1 that ends with LF", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80\n"),
        ("version 1 with two spaces", "2.1", b"PROXY TCP4  6.6.6.6 127.0.0.1 12345 80\r\n"),
        ("version 1 with a word more", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80 x\r\n"),
        ("version 1 with a word less", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345\r\n"),
        ("version 1 with a name for an address", "2.1", b"PROXY TCP4 localhost 127.0.0.1 12345 80\r\n"),
        ("version 1 with an address in octal", "2.1", b"PROXY TCP4 06.06.06.06 127.0.0.1 12345 80\r\n"),
        ("version 1 with an address of the other family", "2.1", b"PROXY TCP4 2001:db8::6 ::1 12345 80\r\n"),
        ("version 1 with a port out of range", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 123456 80\r\n"),
        ("version 1 with a signed port", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 +12345 80\r\n"),
        ("version 1 of 200 bytes", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80" + b" " * 200 + b"\r\n"),
        ("version 1 with CR inside", "2.1", b"PROXY TCP4 6.6.6.6\r127.0.0.1 12345 80\r\n"),
        ("version 1 without an end", "2.1", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80 "),
        ("version 1 twice", "2", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80\r\nPROXY TCP4 6.6.6.7 127.0.0.1 12345 80\r\n"),
        ("version 1 and version 2", "2", b"PROXY TCP4 6.6.6.6 127.0.0.1 12345 80\r\n" + second()),
        ("version 2 twice", "2", second() + second()),
        ("version 2 with a part that is too short", "2.2", second(part=ADDRESSES[:8])),
        ("version 2 that says it has 64 KiB", "2.2", second(length=65535)),
        ("version 2 of version 3", "2.2", second(0x31)),
        ("version 2 with a command that nobody knows", "2.2", second(0x2F)),
        ("version 2 with a family that nobody knows", "2.2", second(family=0x51)),
        ("version 2 cut off", "2.2", SIGNATURE[:8]),
    )],
]
