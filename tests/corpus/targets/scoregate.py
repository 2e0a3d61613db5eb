"""scoregate itself, by its release binary and a configuration file, as a user runs it."""

import datetime
import hashlib
import resource
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness.gate import BINARY, Gate, command
from harness.processes import descriptors

from ..core import tokens
from ..core.lane import Ports
from .target import Target, free_ports

# Short enough that a slow peer is found out while the other cases run, long enough for a busy machine.
SHORT = {
    "tls_handshake": "2s", "request_head": "2s", "idle": "2s", "response_head": "3s", "request": "4s", "stall": "2s",
    "stream_idle": "3s", "connect": "2s",
}
# Descriptors beside those that it needs for itself, in the profile of that name.
FEW = 40


class Scoregate(Target):
    """The gate that the corpora are there for."""

    name = "scoregate"
    has = frozenset(
        ["h2-upstream", "path-chars", "trailers", "extra-header", "caller-headers", "logs", "admin", "websocket",
            "proxy-protocol", "prior-knowledge", "certificates", "jwt"]
    )

    def launch(self):
        self.version = command("version").stdout.split()[1]
        self.admin_port = free_ports(1)[0]
        self.gate = Gate(self.folder, self.config()).start()
        if self.profile == "few-descriptors":
            # Not from the start: it raises its own limit then.
            pid = self.gate.process.pid
            most = descriptors(pid) + FEW
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        port = self.gate.port
        return [Ports(port(f"lane{n}"), port(f"lane{n}-tls"), port(f"lane{n}-proxy")) for n in range(len(self.upstreams))]

    def stop(self):
        self.gate.stop()

    def pids(self):
        return [self.gate.process.pid]

    def config(self):
        keys = self.keys
        config = {
            "listeners": [], "endpoints": {}, "routes": [],
            "workers": 2,
            "callers": {
                "team-a": {"keys": [{"sha256": digest(keys.a)},
                                    {"sha256": digest(keys.expired), "expires": "2020-01-01T00:00:00Z"}]},
                "team-b": {"keys": [{"sha256": digest(keys.b)}]},
                "anyone": {"anonymous": {"public": True}},
                "tenant": {"jwt": {"issuer": tokens.ISSUER, "audience": tokens.AUDIENCE, "jwks_file": self.issuer_keys()}},
            },
            "admin": {"socket": str(self.folder / "admin.sock"), "address": f"127.0.0.1:{self.admin_port}"},
            "log": {"level": "debug", "access": "all"},
        }
        if self.profile == "slow":
            config["timeouts"] = SHORT | {"lame_duck": "0s"}
        tls = self.pki.listener_tls()
        tls["certificates"].append(self.another_certificate("other.test"))
        for number, (upstream, upstream_h2) in enumerate(self.upstreams):
            names = [f"lane{number}", f"lane{number}-tls", f"lane{number}-proxy"]
            config["listeners"] += [
                {"name": names[0], "address": "127.0.0.1:0"},
                # Not loopback: every host is served here, as at a gateway.
                {"name": names[1], "address": "0.0.0.0:0", "tls": tls},
                {"name": names[2], "address": "127.0.0.1:0", "proxy_protocol": True, "trusted_proxies": ["127.0.0.0/8"]},
            ]
            config["endpoints"] |= self.endpoints(number, upstream, upstream_h2)
            config["routes"] += [route(number, names, **one) for one in ROUTES]
        return config

    def issuer_keys(self):
        """The keys of whoever issues tokens, in a file."""
        file = self.folder / "jwks.json"
        file.write_text(tokens.jwks())
        return str(file)

    def another_certificate(self, name):
        """A second certificate for the listeners of TLS, signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=7))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        place = {"cert": self.folder / "other.crt", "key": self.folder / "other.key"}
        place["cert"].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self.pki.write_key(place["key"], key)
        return {what: str(file) for what, file in place.items()}

    def endpoints(self, number, upstream, upstream_h2):
        service, extra = ({"primary": {"value": key}} for key in (self.keys.service, self.keys.extra))
        base = f"http://127.0.0.1:{upstream.port}"
        return {
            f"main{number}": {"upstreams": [f"{base}/score"], "keys": service},
            f"based{number}": {"upstreams": [f"{base}/svc/v1/score"], "keys": service},
            f"extra{number}": {
                "upstreams": [f"{base}/score"], "keys": extra, "attach": {"header": "x-service-key", "prefix": ""}
            },
            f"h2-{number}": {
                "upstreams": [f"http://127.0.0.1:{upstream_h2.port}/score"], "keys": service, "upstream": {"protocol": "h2c"}
            },
        }


ROUTES = [
    {"path": "/", "callers": ["team-a"]},
    {"path": "/b", "callers": ["team-b"]},
    {"path": "/both", "callers": ["team-a", "team-b"]},
    {"path": "/admin", "deny": True},
    {"path": "/open", "exact": True, "callers": ["anyone"], "attach": "none"},
    {"path": "/read", "methods": ["GET", "HEAD"], "callers": ["team-a"]},
    {"path": "/keys", "callers": ["team-a"], "caller_headers": ["authorization", "x-api-key", "api-key"]},
    {"path": "/small", "callers": ["team-a"], "body": "1KiB"},
    {"path": "/special", "callers": ["team-a"], "path_chars": [";", "\\", "%2F", "%5C"]},
    {"path": "/based", "callers": ["team-a"], "endpoint": "based", "rewrite": {"path_prefix": "/"}},
    {"path": "/extra", "callers": ["team-a"], "endpoint": "extra"},
    {"path": "/trailers", "callers": ["team-a"], "trailers": ["x-sum"]},
    {"path": "/h2", "callers": ["team-a"], "endpoint": "h2-"},
    {"path": "/ws", "callers": ["team-a"], "websocket": "on"},
    {"path": "/jwt", "callers": ["tenant"]},
    {"path": "/mixed", "callers": ["team-a", "anyone"]},
    {"host": "secret.test", "path": "/", "callers": ["team-b"]},
    {"host": "*.wild.test", "path": "/", "callers": ["team-b"]},
    {"host": "public.test", "path": "/", "callers": ["team-a"]},
    {"host": "other.test", "path": "/", "callers": ["team-a"]},
]


def route(number, listeners, path, host="*", exact=False, methods=None, deny=False, endpoint="main", **others):
    """A route of one lane."""
    match = {"host": host, "path" if exact else "path_prefix": path, "listeners": listeners}
    if methods:
        match["methods"] = methods
    if deny:
        return {"match": match, "deny": True}
    told = {"identity_header": "x-auth-subject"} if others.get("attach") != "none" else {}
    return {"match": match, "endpoint": f"{endpoint}{number}"} | told | others


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


__all__ = ["BINARY", "Scoregate"]
