"""What must hold before anything is measured: every proxy answers rightly and sets its header, and scoregate's features are on."""

import http.client
import re
import ssl
import subprocess

from . import Refused
from .proxies import CALLER_KEY, NULL, SCOREGATE, SERVICE_KEY
from .server import until

BODY = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}' * 5 + b'{"data": [[5.1, 3.5, 1.4, 0.2' + b" "
ANSWER = b'{"result": ["setosa", "virgin"]}'
PATIENCE = 120
# Workers tell their counts about once a second, of a machine that may be busy or under valgrind.
COUNTED_WITHIN = 30


def ask(port, path="/score", key=CALLER_KEY, tls=None, method="POST"):
    """Status, headers and body."""
    if tls:
        connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=ssl.create_default_context(cafile=tls))
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request(method, path, body=BODY if method == "POST" else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"no answer from port {port}: {error!r}") from None
    finally:
        connection.close()


def prove(lab, proxy):
    """Raises `Refused` where a proxy, just started, does not do what it is measured for."""
    try:
        asked = answers(proxy, proxy.port, None)
        # Under valgrind, which counts instructions, TLS is not what is counted.
        if proxy.tls_port and not proxy.command[0].endswith("valgrind"):
            asked += answers(proxy, proxy.tls_port, lab.folder / "ca.pem")
            negotiates(lab, proxy)
        if proxy.name == SCOREGATE:
            features(proxy, asked)
    except Refused as refused:
        raise Refused(f"{proxy.name}: {refused}; it said: {proxy.said()}") from None


def tokens_are_there(proxy, count):
    """Every endpoint of a service with a token has one."""
    def there():
        told = ask(proxy.health_port, "/metrics", method="GET")[2].decode()
        return len(re.findall(r'^scoregate_credential_expiry_timestamp_seconds\{endpoint="t\d+".*\} [1-9]', told, re.M)) >= count

    if count:
        until(there, f"{count:,} endpoints have a token; it said: {proxy.said()}", proxy.process, pause=0.2)


def answers(proxy, port, tls):
    """The right answer, with the credential overwritten; how many requests that took."""
    status, _, body = ask(port, tls=tls)
    if (status, body) != (200, ANSWER):
        raise Refused(f"answered {status} {body[:200]!r} instead of 200 {ANSWER!r}")
    status, _, body = ask(port, "/credential", tls=tls)
    overwritten = f"Bearer {CALLER_KEY if proxy.name == NULL else SERVICE_KEY}".encode()
    # A slow upstream has no such path, and answers everything alike.
    if status != 200 or body not in (overwritten, ANSWER):
        raise Refused(f"the upstream was shown {body[:200]!r} instead of the service's key")
    return 2


def negotiates(lab, proxy):
    """The same TLS as everyone's."""
    for alpn in ("h2", "http/1.1"):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.tls_port}", "-servername", "localhost", "-alpn", alpn,
                   "-CAfile", lab.folder / "ca.pem", "-verify_return_error"]
        # The session that `s_client` prints has bytes that are no text.
        done = subprocess.run(command, input="", capture_output=True, text=True, errors="replace", env=lab.client_environment,
                              timeout=PATIENCE)
        said = done.stdout + done.stderr
        for what in ("TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256", "X25519", "Peer signature type: ECDSA", f"ALPN protocol: {alpn}"):
            if what not in said:
                raise Refused(f"TLS did not come to `{what}`: {said[-1500:]}")


def features(proxy, asked):
    """Caller keys are checked, requests get an id, and every one is counted."""
    status, headers, _ = ask(proxy.port)
    if status != 200 or not headers.get("x-request-id"):
        raise Refused(f"no x-request-id: {status} {dict(headers)}")
    status, _, body = ask(proxy.port, key="wrong")
    if status != 401 or b"caller_unknown" not in body:
        raise Refused(f"a wrong key is let in: {status} {body[:200]!r}")
    until(lambda: counted(proxy) >= asked + 2, f"{asked + 2} requests are counted by scoregate_requests_total", proxy.process, COUNTED_WITHIN, 0.1)


def counted(proxy):
    """All requests so far, over all labels."""
    status, _, body = ask(proxy.health_port, "/metrics", method="GET")
    if status != 200:
        raise Refused(f"/metrics answered {status}")
    return sum(float(value) for value in re.findall(rb"^scoregate_requests_total\{[^}]*\} (\S+)", body, re.M))
