"""TLS: versions, suites, renegotiation, early data, by two scanners and by hand (RFC 8446, RFC 9325, threat 13)."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
from functools import partial
from pathlib import Path

from sslyze import ScanCommand, Scanner, ServerNetworkLocation, ServerScanRequest

from ..core.case import Case, Outcome, demand
from ..core.h1 import CHUNKED, GET
from ..core.judge import USUAL, check_rules
from ..core.talk import dial
from ..core.upstream import usual

COMMANDS = {
    ScanCommand.SSL_2_0_CIPHER_SUITES, ScanCommand.SSL_3_0_CIPHER_SUITES, ScanCommand.TLS_1_0_CIPHER_SUITES,
        ScanCommand.TLS_1_1_CIPHER_SUITES,
    ScanCommand.TLS_1_2_CIPHER_SUITES, ScanCommand.TLS_1_3_CIPHER_SUITES, ScanCommand.TLS_COMPRESSION,
        ScanCommand.TLS_1_3_EARLY_DATA, ScanCommand.HEARTBLEED,
    ScanCommand.ROBOT, ScanCommand.OPENSSL_CCS_INJECTION, ScanCommand.SESSION_RENEGOTIATION, ScanCommand.ELLIPTIC_CURVES,
        ScanCommand.TLS_EXTENDED_MASTER_SECRET,
}
SOUND = ("_GCM_", "CHACHA20_POLY1305", "_CCM")
scans, scanning = {}, threading.Lock()


def scan(lane):
    """sslyze's results, one scan per target."""
    with scanning:
        if lane.target not in scans:
            place = ServerNetworkLocation(hostname="localhost", ip_address="127.0.0.1", port=lane.ports.tls)
            scanner = Scanner()
            scanner.queue_scans([ServerScanRequest(server_location=place, scan_commands=COMMANDS)])
            scans[lane.target] = next(iter(scanner.get_results()))
        done = scans[lane.target]
    demand(done.scan_result is not None, Outcome.WRONG, f"sslyze cannot scan: {done.connectivity_error_trace}")
    return done.scan_result


def result(lane, command):
    attempt = getattr(scan(lane), command.value)
    demand(attempt.result is not None, Outcome.WRONG,
        f"sslyze: {command.value}: {attempt.error_reason} {attempt.error_trace}")
    return attempt.result


def not_offered(lane, command):
    accepted = [one.cipher_suite.name for one in result(lane, command).accepted_cipher_suites]
    demand(not accepted, Outcome.WRONG, f"accepted: {accepted}")
    lane.canary()


def sound_suites(lane, command, forward_secrecy):
    accepted = [one.cipher_suite.name for one in result(lane, command).accepted_cipher_suites]
    demand(accepted, Outcome.WRONG, "no suite at all")
    unsound = [name for name in accepted if not any(word in name for word in SOUND) or forward_secrecy
        and not name.startswith("TLS_ECDHE_")]
    demand(not unsound, Outcome.WRONG, f"unsound suites: {unsound}")
    lane.canary()


def curves(lane):
    names = {one.name for one in result(lane, ScanCommand.ELLIPTIC_CURVES).supported_curves or []}
    demand(names and names <= {"X25519", "X448", "secp256r1", "secp384r1", "secp521r1"}, Outcome.WRONG, f"curves: {names}")
    lane.canary()


def flag(lane, command, name, wanted):
    found = getattr(result(lane, command), name)
    found = getattr(found, "name", found)
    demand(found in wanted, Outcome.WRONG, f"{name} is {found}")
    lane.canary()


def testssl(lane):
    """testssl.sh finds nothing worse than a remark about protocols, ciphers and forward secrecy."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    demand(program, Outcome.WRONG, "testssl is missing: Debian's testssl.sh")
    report = Path(lane.pki.ca).parent / f"testssl-{lane.target.name}.json"
    report.unlink(missing_ok=True)
    subprocess.run(
        [program, "--quiet", "--warnings", "off", "--color", "0", "-p", "-s", "-f", "--ip", "127.0.0.1", "--jsonfile",
            report, f"localhost:{lane.ports.tls}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=170,
    )
    found = json.loads(report.read_text())
    severities = {one["id"]: (one["severity"], one["finding"]) for one in found}
    demand("TLS1_3" in severities and "cipherlist_NULL" in severities, Outcome.WRONG,
        f"the scan did not come to its end: {sorted(severities)}")
    bad = {name: one for name, one in severities.items() if one[0] not in ("OK", "INFO", "DEBUG")}
    demand(not bad, Outcome.WRONG, f"testssl says: {bad}")
    lane.canary()


# ---- by hand ----

def context(*protocols, **options):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(list(protocols))
    for name, value in options.items():
        setattr(made, name, value)
    return made


def no_overlap(lane):
    """A client that speaks neither protocol is refused (RFC 7301 section 3.2), or served without one; never taken for another."""
    try:
        with dial(lane.ports.tls, tls=context("spdy/3")) as sock:
            demand(sock.selected_alpn_protocol() is None, Outcome.WRONG, f"negotiated {sock.selected_alpn_protocol()}")
    except (ssl.SSLError, OSError):
        pass
    lane.canary()


def raw(lane, text):
    """Bytes that are no TLS on the port of TLS: the connection ends, and nothing reaches the upstream."""
    got = b""
    with dial(lane.ports.tls) as sock:
        try:
            sock.sendall(lane.fill(text))
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                got += piece
        except TimeoutError:
            demand(False, Outcome.HUNG, "the connection stays open")
        except OSError:
            pass
    demand(b"HTTP/1.1 200" not in got, Outcome.BYPASS, f"served without TLS: {got[:200]!r}")
    lane.canary()
    seen = lane.upstream.end()
    check_rules(seen, lane, USUAL)
    demand(not seen.requests and not seen.cut, Outcome.CROSSED, f"the upstream saw {seen.raw()[:200]!r}")


def refuses(lane, **options):
    """A handshake of that kind does not come about."""
    try:
        made = context()
        made.set_ciphers("ALL:@SECLEVEL=0")
        for name, value in options.items():
            made.set_ciphers(value) if name == "ciphers" else setattr(made, name, value)
        with dial(lane.ports.tls, tls=made) as sock:
            demand(False, Outcome.WRONG, f"agreed on {sock.version()} with {sock.cipher()}")
    except (ssl.SSLError, ConnectionError):
        pass
    lane.canary()


def end_of_tls(lane, cut):
    """An answer that ends with the connection ends with close_notify (RFC 8446 section 6.1); one that broke off does not."""
    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n" + (b"" if cut
            else b"0\r\n\r\n"))

    lane.upstream.script = script
    with lane.talk(tls=True) as talk:
        talk.send(lane.fill((GET + b"\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")), b"GET")
        talk.read_end()
        if cut:
            demand(talk.end == "reset" or talk.answers and talk.answers[0].status == 502, Outcome.CROSSED,
                f"an answer that broke off ends as whole: {talk.end} {bytes(talk.raw)!r}")
        else:
            demand(talk.end == "fin" and talk.answers and talk.answers[0].body == b"hello", Outcome.WRONG,
                f"the end: {talk.end} {bytes(talk.raw)!r}")
    lane.upstream.script = usual
    lane.canary()


def truncated(lane, head, body, notify):
    """A request cut off by the end of TLS, with close_notify and without it, is never complete."""
    with lane.talk(tls=True) as talk:
        talk.send(lane.fill(head + body), b"POST")
        if notify:
            try:
                talk.sock.settimeout(2)
                talk.sock.unwrap()
            except (OSError, ssl.SSLError, ValueError):
                pass
        talk.close()
        lane.canary()
        seen = lane.upstream.end()
        check_rules(seen, lane, USUAL)
        demand(not seen.requests, Outcome.CROSSED, f"forwarded as complete: {seen.raw()[:300]!r}")


def of(name, section, play, *arguments, **options):
    return Case(name, "tls", "tls", section, partial(call, play, arguments, options))


def call(play, arguments, options, lane):
    play(lane, *arguments, **options)


V = ssl.TLSVersion
CASES = [
    of("testssl.sh", "RFC 9325 3", testssl),
    of("SSL 2 is not offered", "RFC 6176 3", not_offered, ScanCommand.SSL_2_0_CIPHER_SUITES),
    of("SSL 3 is not offered", "RFC 7568 3", not_offered, ScanCommand.SSL_3_0_CIPHER_SUITES),
    of("TLS 1.0 is not offered", "RFC 8996 4", not_offered, ScanCommand.TLS_1_0_CIPHER_SUITES),
    of("TLS 1.1 is not offered", "RFC 8996 5", not_offered, ScanCommand.TLS_1_1_CIPHER_SUITES),
    of("TLS 1.2 has sound suites alone", "RFC 9325 4.1", sound_suites, ScanCommand.TLS_1_2_CIPHER_SUITES, True),
    of("TLS 1.3 has sound suites alone", "RFC 8446 9.1", sound_suites, ScanCommand.TLS_1_3_CIPHER_SUITES, False),
    of("sound curves alone", "RFC 9325 4.2", curves),
    of("no compression", "RFC 9325 3.3", flag, ScanCommand.TLS_COMPRESSION, "supports_compression", [False]),
    of("no early data", "RFC 8446 8", flag, ScanCommand.TLS_1_3_EARLY_DATA, "supports_early_data", [False]),
    of("no renegotiation by the client", "RFC 9325 3.5", flag, ScanCommand.SESSION_RENEGOTIATION,
        "is_vulnerable_to_client_renegotiation_dos", [False]),
    of("no bleeding heart", "CVE-2014-0160", flag, ScanCommand.HEARTBLEED, "is_vulnerable_to_heartbleed", [False]),
    of("no early change of cipher", "CVE-2014-0224", flag, ScanCommand.OPENSSL_CCS_INJECTION,
        "is_vulnerable_to_ccs_injection", [False]),
    of("no oracle for RSA", "CVE-2017-13099", flag, ScanCommand.ROBOT, "robot_result", ["NOT_VULNERABLE_NO_ORACLE",
        "NOT_VULNERABLE_RSA_NOT_SUPPORTED"]),
    of("an extended master secret", "RFC 7627 4", flag, ScanCommand.TLS_EXTENDED_MASTER_SECRET, "supports_ems_extension",
        [True]),
    of("no protocol in common", "RFC 7301 3.2", no_overlap),
    of("TLS 1.1 by hand", "RFC 8996 5", refuses, minimum_version=V.TLSv1, maximum_version=V.TLSv1_1),
    of("no suite without forward secrecy", "RFC 9325 4.1", refuses, maximum_version=V.TLSv1_2,
        ciphers="AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"),
    of("no suite without a certificate", "RFC 9325 4.1", refuses, maximum_version=V.TLSv1_2, ciphers="aNULL:@SECLEVEL=0"),
    of("no suite of CBC", "RFC 9325 4.1", refuses, maximum_version=V.TLSv1_2,
        ciphers="ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA256:@SECLEVEL=0"),
    of("HTTP on the port of TLS", "RFC 9110 4.2.2", raw, GET + b"\r\n"),
    of("HTTP/2 on the port of TLS", "RFC 9113 3.2", raw, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    of("a record that says it is too large", "RFC 8446 5.1", raw, b"\x16\x03\x01\xff\xff" + b"\x01" * 1000),
    of("a record of no bytes", "RFC 8446 5.1", raw, b"\x16\x03\x01\x00\x00" * 100),
    of("application data before the handshake", "RFC 8446 5", raw, b"\x17\x03\x03\x00\x05hello"),
    of("an alert and nothing else", "RFC 8446 6", raw, b"\x15\x03\x01\x00\x02\x02\x28"),
    of("a hello of SSL 2", "RFC 8446 4.1.2", raw, b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01" * 40),
    of("a hello that is cut off", "RFC 8446 4.1.2", raw, b"\x16\x03\x01\x00\x10\x01\x00\x01\xfc\x03\x03"),
    of("a thousand changes of cipher", "RFC 8446 5", raw, b"\x14\x03\x03\x00\x01\x01" * 1000),
    of("an answer's end is told by TLS", "RFC 8446 6.1", end_of_tls, False),
    of("an answer that broke off is told by TLS", "RFC 8446 6.1", end_of_tls, True),
    of("a body cut off by TLS", "RFC 9112 9.8", truncated, CHUNKED, b"5\r\nhello\r\n", False),
    of("a body cut off by TLS, in order", "RFC 9112 9.8", truncated, CHUNKED, b"5\r\nhello\r\n", True),
]
