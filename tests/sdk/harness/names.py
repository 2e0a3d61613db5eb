"""Microsoft's names, resolved to a mock inside this process. Every other name leads nowhere."""

import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@contextmanager
def microsofts(mock):
    """Until the end of the block `login.microsoftonline.com` and `management.azure.com` are the mock's."""
    ports = {
        "login.microsoftonline.com": urlsplit(mock.entra_tls).port,
        "management.azure.com": urlsplit(mock.arm_tls).port,
    }
    real, asked = socket.getaddrinfo, []

    def resolve(host, port, *arguments, **named):
        host = host.decode() if isinstance(host, bytes) else host
        if host in LOOPBACK:
            return real(host, port, *arguments, **named)
        asked.append(host)
        if host in ports and int(port or 443) == 443:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports[host]))]
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not for tests")

    socket.getaddrinfo = resolve
    try:
        yield asked
    finally:
        socket.getaddrinfo = real
