"""scoregate and its peers: the configurations of `../config` with addresses filled in, and the commands that run them."""

import hashlib
import json
import os
import re
import signal
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from . import Refused
from .server import Server, free_port

CONFIG = Path(__file__).resolve().parents[1] / "config"
CALLER_KEY = "bench-caller-key-0123456789abcdefghijklmnop"
SERVICE_KEY = "bench-service-key-0123456789abcdefghijklmno"

SCOREGATE, NULL, NGINX, HAPROXY, ENVOY = "scoregate", "null forwarder", "nginx", "HAProxy", "Envoy"
# The order of the table's columns. The null forwarder is the limit, not a peer: nothing is compared with it.
COLUMNS = [SCOREGATE, NULL, NGINX, HAPROXY, ENVOY]
PEERS = [NGINX, HAPROXY, ENVOY]


class Cores(Enum):
    """Where a proxy may run."""

    PROXY = "the proxy's core"
    BOTH = "both cores"


@dataclass
class Setup:
    """What differs between two starts of the same proxy."""

    upstreams: list
    # Processes that watch it: valgrind, strace.
    wrapper: list = field(default_factory=list)
    # nginx and HAProxy alone: 64 KiB instead of their defaults.
    large_buffers: bool = False
    # scoregate alone:
    workers: int = 1
    cores: Cores = Cores.PROXY
    keys: int = 1
    # Beside the one that takes everything.
    routes: int = 0
    # Endpoints, each of a service with a token that is renewed all the time; nobody asks them for anything.
    tokens: int = 0
    replay_body: str = "1MiB"


def fill(template, folder, name=None, **values):
    """Writes a configuration of `../config`, every `@NAME@` replaced."""
    text = (CONFIG / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    if left := re.search(r"@[A-Z_]+@", text):
        raise Refused(f"{template}: nothing is known for {left.group()}")
    path = folder / (name or template)
    path.write_text(text)
    return path


class Proxy(Server):
    """A running proxy, with the ports it serves."""

    def __init__(self, name, command, folder, cores, setup, port, tls_port=None, health_port=None, end=signal.SIGTERM):
        ports = [one for one in (port, tls_port, health_port) if one]
        super().__init__(name, command, folder, cores, ports, setup.wrapper, end)
        self.port, self.tls_port, self.health_port = port, tls_port, health_port


def make(name, lab, folder, setup):
    """A proxy that is not yet started."""
    return {SCOREGATE: scoregate, NULL: null, NGINX: nginx, HAPROXY: haproxy, ENVOY: envoy}[name](lab, folder, setup)


def addresses(folder):
    return {"FOLDER": folder, "PORT": free_port(), "TLS_PORT": free_port(), "SERVICE_KEY": SERVICE_KEY}


def scoregate(lab, folder, setup):
    at = {**addresses(folder), "HEALTH_PORT": free_port()}
    del at["SERVICE_KEY"]
    (folder / "state").mkdir()
    for file, secret in [("primary", SERVICE_KEY), ("secondary", SERVICE_KEY), ("caller", CALLER_KEY)]:
        write_secret(folder / file, secret)
    keys = more_keys(setup.keys - 1)
    routes = "".join(
        f"\n  - {{match: {{path_prefix: /s{n}}}, rewrite: {{path_prefix: /}}, callers: [bench], endpoint: service}}"
        for n in range(1, setup.routes + 1))
    config = fill(
        "scoregate.yaml", folder, **at, WORKERS=setup.workers, ACTIVE="primary", REPLAY_BODY=setup.replay_body,
        UPSTREAMS=", ".join(f'"http://127.0.0.1:{port}/score"' for port in setup.upstreams),
        MORE_KEYS=keys, MORE_ROUTES=routes.strip(), **token_endpoints(lab, folder, setup.tokens))
    cores = {lab.proxy_core} if setup.cores is Cores.PROXY else {lab.proxy_core, lab.other_core}
    return Proxy(SCOREGATE, [lab.binary, "run", "-c", config], folder, cores, setup, at["PORT"], at["TLS_PORT"], at["HEALTH_PORT"])


def token_endpoints(lab, folder, count):
    """Endpoints of the embedded Azure's services, and the sign-in that finds them."""
    if not count:
        return {"MORE_ENDPOINTS": "", "AZURE": ""}
    azure = lab.azure
    write_secret(folder / "principal", azure["client_secret"])
    (folder / "workspace.json").write_text(json.dumps({
        "subscription_id": azure["subscription"], "resource_group": azure["resource_group"], "workspace_name": azure["workspace"]}))
    principal = f"tenant_id: {azure['tenant']}, client_id: {azure['client_id']}, client_secret: {{ file: principal }}"
    return {
        "MORE_ENDPOINTS": "\n  ".join(
            f"t{n}: {{ service: {{ workspace: tokens, name: t{n}, kind: aks }} }}" for n in range(count)),
        "AZURE": f"""identities:
  default:
    service_principal: {{ {principal} }}
    cloud: {{ authority: "{azure['entra']}", resource_manager: "{azure['arm']}" }}
workspaces: {{ tokens: {{ identity: default, config_file: workspace.json }} }}""",
    }


def more_keys(count):
    """Entries of so many caller keys, each by its digest, as `scoregate keygen` prints them."""
    return "\n      ".join(f"- {{sha256: {hashlib.sha256(b'another key %d' % n).hexdigest()}}}" for n in range(count))


def write_secret(path, secret):
    """As a whole, and readable by its owner alone."""
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret)
    beside.rename(path)


def null(lab, folder, setup):
    port = free_port()
    command = [lab.tools / "null-forwarder", "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{setup.upstreams[0]}"]
    return Proxy(NULL, command, folder, {lab.proxy_core}, setup, port)


def nginx(lab, folder, setup):
    at = addresses(folder)
    servers = "\n    ".join(f"server 127.0.0.1:{port};" for port in setup.upstreams)
    large = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;"
    config = fill("nginx.conf", folder, **at, UPSTREAMS=servers, LARGE_BUFFERS=large if setup.large_buffers else "")
    command = ["nginx", "-p", folder, "-e", "stderr", "-c", config]
    # SIGINT: at once, without waiting for connections.
    return Proxy(NGINX, command, folder, {lab.proxy_core}, setup, at["PORT"], at["TLS_PORT"], end=signal.SIGINT)


def haproxy(lab, folder, setup):
    at = addresses(folder)
    servers = "\n  ".join(f"server s{n} 127.0.0.1:{port}" for n, port in enumerate(setup.upstreams))
    large = "tune.bufsize 65536" if setup.large_buffers else ""
    config = fill("haproxy.cfg", folder, **at, UPSTREAMS=servers, LARGE_BUFFERS=large)
    return Proxy(HAPROXY, ["haproxy", "-db", "-f", config], folder, {lab.proxy_core}, setup, at["PORT"], at["TLS_PORT"])


def envoy(lab, folder, setup):
    at = addresses(folder)
    servers = "\n              ".join(
        f"- endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}" for port in setup.upstreams)
    config = fill("envoy.yaml", folder, **at, UPSTREAMS=servers)
    command = [lab.envoy, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", config]
    return Proxy(ENVOY, command, folder, {lab.proxy_core}, setup, at["PORT"], at["TLS_PORT"])
