"""The binary of the image in a root that is as empty as the image: no libc, no /etc, no /proc, no /dev, nothing that it may write to but
two folders. Built by docker/build-static; in tests/full alone, for it is a release build of its own."""

import http.server
import json
import os
import platform
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import ROOT

BINARY = Path(os.environ.get("SCOREGATE_STATIC", ROOT / f"target/{platform.machine()}-unknown-linux-gnu/release/scoregate"))
NOBODY = 65532
KEY, SERVICE_KEY = "a-caller-key-of-the-test-0123456789", "a-service-key-of-the-test-0123456789"


@pytest.fixture
def root(tmp_path):
    """The image's file system, as docker/Dockerfile makes it."""
    assert BINARY.exists(), f"{BINARY} is missing: docker/build-static makes it"
    root = tmp_path / "root"
    for folder in ("run/scoregate", "var/lib/scoregate", "etc/scoregate"):
        (root / folder).mkdir(parents=True)
    shutil.copy(BINARY, root / "scoregate")
    if os.geteuid() == 0:
        for folder in ("run/scoregate", "var/lib/scoregate"):
            os.chown(root / folder, NOBODY, NOBODY)
        # Folders of tests are their owner's alone.
        for parent in [root, *root.parents]:
            if parent == Path("/tmp"):
                break
            parent.chmod(parent.stat().st_mode | 0o555)
    return root


def inside(root, *words):
    """The command that runs the binary there as nobody."""
    chroot, unshare = (shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("chroot", "unshare"))
    become = [chroot, f"--userspec={NOBODY}:{NOBODY}"] if os.geteuid() == 0 else [unshare, "--map-root-user", chroot]
    return [*become, str(root), "/scoregate", *words]


def run(root, *words):
    return subprocess.run(inside(root, *words), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env={})


class Running:
    def __init__(self, root, *words):
        self.log = open(root.parent / f"{words[0]}.log", "w+b")
        self.process = subprocess.Popen(inside(root, *words), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env={})

    def said(self):
        return Path(self.log.name).read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def until(true, what, patience=30):
    deadline = time.monotonic() + patience
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what() if callable(what) else what}"
        time.sleep(0.02)
    return answer


def ask(url, key=None, body=b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'):
    request = urllib.request.Request(url, body, {"authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def write(root, config):
    text = json.dumps({
        "version": 1, "timeouts": {"lame_duck": "0s"}, "callers": {"team": {"keys": [{"file": "/etc/scoregate/caller"}]}},
        "routes": [{"match": {"path_prefix": "/"}, "callers": ["team"], "endpoint": "iris"}],
    } | config)
    for name, content in {"caller": KEY, "key": SERVICE_KEY, "scoregate.yaml": text}.items():
        beside = root / "etc/scoregate" / f"{name}.new"
        beside.write_text(content)
        beside.rename(root / "etc/scoregate" / name)


def test_it_needs_nothing_to_be_loaded():
    data = BINARY.read_bytes()
    assert data[:5] == b"\x7fELF\x02"
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = {struct.unpack_from("<I", data, offset + at * size)[0] for at in range(count)}
    assert 3 not in kinds, "PT_INTERP: a dynamic loader is asked for"


def test_the_bill_of_materials_names_what_is_in_it():
    bill = json.loads((ROOT / "target/scoregate.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["metadata"]["component"]["name"] == "scoregate"
    named = {component["name"] for component in bill["components"]}
    target = ["--target", f"{platform.machine()}-unknown-linux-gnu"]
    tree = subprocess.run(["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", *target],
                          capture_output=True, text=True, check=True, cwd=ROOT).stdout
    built = {line.split(" ")[0] for line in tree.splitlines() if line} - {"scoregate"}
    assert {"rustls", "hyper", "tokio"} <= built and built <= named, built - named
    assert all(component["purl"].startswith("pkg:cargo/") for component in bill["components"])


def test_what_asks_nobody(root):
    assert re.match(r"scoregate \d", run(root, "version").stdout)
    assert json.loads(run(root, "schema").stdout)["type"] == "object"
    assert run(root, "man").stdout.startswith(".ie") and "sha256" in run(root, "keygen").stdout
    write(root, {"listeners": [{"name": "a", "address": "127.0.0.1:8080"}], "endpoints": {"iris": {"upstreams": ["http://127.0.0.1:1/"]}}})
    checked = run(root, "check", "--config", "/etc/scoregate/scoregate.yaml")
    assert checked.returncode == 0, checked.stderr


def test_the_image_is_what_the_dockerfile_says(tmp_path):
    """Its last stage, built by buildah from the Dockerfile as it stands; the stages before it need a registry, and are folders here."""
    built, source = tmp_path / "build", tmp_path / "source"
    for folder in (built / "out/run", built / "out/state", source / "etc/ssl/certs"):
        folder.mkdir(parents=True)
    shutil.copy(BINARY, built / "out/scoregate")
    (source / "etc/ssl/certs/ca-certificates.crt").write_text("authorities\n")
    buildah = ["buildah", "--storage-driver", "vfs", "--root", str(tmp_path / "store"), "--runroot", str(tmp_path / "run")]

    def do(*words):
        done = subprocess.run([*buildah, *words], capture_output=True, text=True, timeout=300, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    do("bud", "--isolation", "chroot", "--build-context", f"build={built}", "--build-context", f"source={source}", "--target", "image",
       "-t", "scoregate", "-f", "docker/Dockerfile", ".")
    container = do("from", "localhost/scoregate").strip()
    try:
        settings = json.loads(do("inspect", "--type", "image", "localhost/scoregate"))["OCIv1"]["config"]
        assert settings["User"] == f"{NOBODY}:{NOBODY}" and settings["Entrypoint"] == ["/scoregate"]
        # What a container says is lost now and then on a busy machine.
        until(lambda: do("run", "--isolation", "chroot", container, "--", "/scoregate", "version").startswith("scoregate "), "its version")
    finally:
        do("rm", container)
        do("rmi", "localhost/scoregate")


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        good = self.headers["authorization"] == f"Bearer {SERVICE_KEY}"
        self.send_response(200 if good else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def https(tmp_path):
    """A service over TLS whose authority nobody else believes."""
    cert, key = tmp_path / "service.crt", tmp_path / "service.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=service", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert], check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], cert
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_serves_and_trusts_the_authority_that_it_is_given(root, https, host):
    upstream, cert = https
    port, health = free_port(), free_port()
    shutil.copy(cert, root / "etc/scoregate/ca.pem")
    config = {
        "listeners": [{"name": "a", "address": f"127.0.0.1:{port}"}],
        "health": {"address": f"127.0.0.1:{health}"},
        "endpoints": {"iris": {
            "upstreams": [f"https://{host}:{upstream}/"], "keys": {"primary": {"file": "/etc/scoregate/key"}},
            "upstream": {"tls": {"ca": "/etc/scoregate/ca.pem"}},
        }},
    }
    write(root, config)
    with Running(root, "run", "--config", "/etc/scoregate/scoregate.yaml") as gate:
        until(lambda: ask(f"http://127.0.0.1:{health}/livez", body=None)[0] == 200, gate.said)
        assert ask(f"http://127.0.0.1:{port}/score", KEY, b"hello") == (200, "hello"), gate.said()
        assert ask(f"http://127.0.0.1:{port}/score")[0] == 401
        # What it writes to, and that a change is seen.
        assert (root / "run/scoregate/admin.sock").is_socket() and (root / "var/lib/scoregate/salt").exists()
        looked = run(root, "status")
        assert looked.returncode == 0 and "iris" in looked.stdout, looked.stderr
        write(root, config | {"routes": [{"match": {"path_prefix": "/"}, "deny": True}]})
        until(lambda: ask(f"http://127.0.0.1:{port}/score", KEY)[0] == 403, "the change is taken")
        gate.process.terminate()
        assert gate.process.wait(timeout=60) == 0


def test_a_name_that_nobody_can_look_up_is_that_endpoints_trouble_alone(root):
    port = free_port()
    write(root, {
        "listeners": [{"name": "a", "address": f"127.0.0.1:{port}"}],
        "endpoints": {"iris": {"upstreams": ["http://service.example/"], "plaintext": "allow",
                               "keys": {"primary": {"file": "/etc/scoregate/key"}}}},
    })
    with Running(root, "run", "--config", "/etc/scoregate/scoregate.yaml") as gate:
        until(lambda: ask(f"http://127.0.0.1:{port}/score")[0] == 401, gate.said)
        status, body = ask(f"http://127.0.0.1:{port}/score", KEY)
        assert status in (502, 503), body
        assert "panic" not in gate.said()


def test_the_demo_and_the_embedded_azure(root):
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    with Running(root, "demo") as demo:
        lines = until(lambda: re.findall(r"curl .*", demo.said()), demo.said)
        url = re.search(r"http://127\.0\.0\.1:\d+/\S*", lines[0])[0].strip("'\"")
        until(lambda: ask(url)[0] is not None, demo.said)
    with Running(root, "mock-azure", "--tls", "--port-file", "/run/scoregate/ports.json") as azure:
        ports = until(lambda: (root / "run/scoregate/ports.json").exists() and json.loads((root / "run/scoregate/ports.json").read_text()),
                      azure.said)
        # By a name, which a file of hosts is enough for.
        (root / "etc/hosts").write_text("127.0.0.1 localhost login.microsoftonline.com\n")
        authority = re.sub(r"//[^:/]+", "//login.microsoftonline.com", ports["entra_tls"])
        port = free_port()
        (root / "etc/scoregate/client-secret").write_text(ports["client_secret"])
        write(root, {
            "listeners": [{"name": "a", "address": f"127.0.0.1:{port}"}],
            "identities": {"app": {
                "service_principal": {"tenant_id": ports["tenant"], "client_id": ports["client_id"],
                                      "client_secret": {"file": "/etc/scoregate/client-secret"}},
                "cloud": {"authority": authority, "resource_manager": ports["arm_tls"], "ca": ports["ca_file"]},
            }},
            "workspaces": {"ml": {"identity": "app", "subscription_id": ports["subscription"],
                                  "resource_group": ports["resource_group"], "name": ports["workspace"]}},
            "endpoints": {"iris": {"service": {"workspace": "ml", "name": "aks-key", "kind": "aks"}}},
        })
        online = run(root, "check", "--online", "--config", "/etc/scoregate/scoregate.yaml")
        assert online.returncode == 0, online.stdout + online.stderr
        with Running(root, "run", "--config", "/etc/scoregate/scoregate.yaml") as gate:
            until(lambda: ask(f"http://127.0.0.1:{port}/", KEY)[0] == 200, gate.said)
