"""Everything a measurement stands on: a folder, certificates, cores, the upstream, and proxies that have been proved right."""

import contextlib
import functools
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import Refused, machine, programs, proof, proxies
from .proxies import CONFIG, ENVOY, SCOREGATE, Setup
from .server import Server, free_port, until

MIB = 1 << 20
# Services of the embedded Azure whose tokens are renewed, and how many seconds those live and are used.
TOKENS = 1000
TOKEN_LIFE = {"token_lifetime": 60, "refresh_after": 20}


class Lab:
    """Built once a run. `without` holds the peers that cannot run here, with the reason."""

    def __init__(self, binary, peers, tools):
        self.binary, self.peers, self.tools = binary, peers, tools
        self.proxy_core, self.other_core = machine.cores()
        self.without = {}
        self.envoy = None
        if ENVOY in peers:
            try:
                self.envoy = programs.install_envoy()
            except Refused as refused:
                self.without[ENVOY] = str(refused)

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        self.certificates()
        # Only what runs in front of scoregate and its peers is told: their own TLS is their configuration's.
        self.client_environment = os.environ | {"OPENSSL_CONF": str(CONFIG / "openssl.cnf"), "SCOREGATE_CALLER_KEY": proxies.CALLER_KEY}
        self.upstream = self.stack.enter_context(self.nginx_upstream()).ports[0]
        return self

    def __exit__(self, *_):
        self.stack.close()

    def running(self, names):
        """Those of the names that can run here."""
        return [name for name in names if name not in self.without and (name not in proxies.PEERS or name in self.peers)]

    def place(self, name):
        folder = Path(tempfile.mkdtemp(prefix=f"{name.split()[0]}-", dir=self.folder))
        for file in ("tls.crt", "tls.key", "both.pem"):
            shutil.copy(self.folder / file, folder / file)
        return folder

    def proxy(self, name, **settings):
        """A proxy that runs and answers as it must, once entered."""
        return self.proved(name, Setup(**{"upstreams": [self.upstream]} | settings))

    @contextlib.contextmanager
    def proved(self, name, setup):
        with proxies.make(name, self, self.place(name), setup) as proxy:
            proof.prove(self, proxy)
            proof.tokens_are_there(proxy, setup.tokens)
            yield proxy

    @contextlib.contextmanager
    def all(self, names, **settings):
        """Several at once, by name; those that have no work cost nothing."""
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(self.proxy(name, **settings)) for name in self.running(names)}

    # ---- what proxies stand between ----

    def nginx_upstream(self):
        folder = Path(tempfile.mkdtemp(prefix="upstream-", dir=self.folder))
        (folder / "download.bin").write_bytes(bytes(range(256)) * (MIB // 256))
        port = free_port()
        config = proxies.fill("upstream.conf", folder, FOLDER=folder, PORT=port)
        return Server("the upstream", ["nginx", "-p", folder, "-e", "stderr", "-c", config], folder, {self.other_core}, [port])

    def reading_upstream(self, delay=0.0, stall=0.0, on="/"):
        """Reads every body; for paths that begin with `on`, `stall` seconds after the head, and answers `delay` after the last byte."""
        folder = Path(tempfile.mkdtemp(prefix="upstream-", dir=self.folder))
        port = free_port()
        command = [self.tools / "upstream", "--listen", f"127.0.0.1:{port}", "--delay", delay, "--stall", stall, "--on", on]
        return Server("the upstream", command, folder, {self.other_core}, [port])

    @functools.cached_property
    def azure(self):
        """The addresses and credentials of an embedded Azure with the services of `TOKENS`, which runs from now on."""
        folder = Path(tempfile.mkdtemp(prefix="azure-", dir=self.folder))
        service = {"kind": "aks", "auth": "token", "front_ends": 1, "behaviour": TOKEN_LIFE}
        secret = secrets.token_urlsafe(32)
        (folder / "fixture.json").write_text(json.dumps({
            "application": {"client_secret": secret}, "services": {f"t{n}": service for n in range(TOKENS)}}))
        command = [self.binary, "mock-azure", "--fixture", "fixture.json", "--port-file", "ports.json"]
        server = self.stack.enter_context(Server("the embedded Azure", command, folder, {self.other_core}, []))
        until((folder / "ports.json").exists, "the embedded Azure listens", server.process)
        return json.loads((folder / "ports.json").read_text()) | {"client_secret": secret}

    def certificates(self):
        """An authority and a P-256 certificate of it for localhost."""
        ca, folder = ["-CA", "ca.pem", "-CAkey", "ca.key"], self.folder
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-batch"]
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
        for command in ([*new, "-subj", "/CN=peers", "-keyout", "ca.key", "-out", "ca.pem"],
                        [*new, *ca, *leaf, *names, "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.crt"]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise Refused(f"no certificate could be made: {done.stderr.strip()}")
        (folder / "both.pem").write_text((folder / "tls.crt").read_text() + (folder / "tls.key").read_text())

    def versions(self):
        """Of what was measured."""
        commands = {SCOREGATE: [self.binary, "version"], proxies.NGINX: ["nginx", "-v"], proxies.HAPROXY: ["haproxy", "-v"],
                    ENVOY: [self.envoy, "--version"]}
        return {name: programs.version(commands[name]) for name in self.running(commands)}
