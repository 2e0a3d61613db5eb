"""Whatever changes, wherever it comes from: it takes effect, nobody on a live connection notices, and what is wrong is refused whole."""

import contextlib
import hashlib
import json
import random
import re
import socket
import ssl
import statistics
import threading
import time

import pytest
import websockets.sync.client
import websockets.sync.server

from harness import http1, secrets
from harness.files import LIVE, replace
from harness.fixtures import FULL
from harness.kubelet import Volume
from harness.load import Load
from harness.pki import Pki
from harness.until import until
from harness.upstream import Upstream

UPLOAD = random.Random(7).randbytes(8 << 20)


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as upstream:
        yield upstream


def reloads(running, result):
    """How many ended so."""
    found = re.search(rf'^scoregate_config_reload_total{{result="{result}"}} (\d+)$', running.probe("/metrics")[1], re.M)
    return int(found[1]) if found else 0


def taken(running):
    return reloads(running, "ok")


def refused(running):
    return reloads(running, "refused")


# ---- 200 reloads in a minute under mixed load ----


@contextlib.contextmanager
def socket_server(key):
    """Sends back what comes."""

    def admit(connection, request):
        if request.headers.get("authorization") != f"Bearer {key}":
            return connection.respond(401, "the service demands its key\n")

    def handle(connection):
        for message in connection:
            connection.send(message)

    server = websockets.sync.server.serve(handle, "127.0.0.1", 0, process_request=admit)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


class Mixed(Load):
    """Small requests as Load has them, and beside them WebSockets, streams of events, and uploads of 8 MiB."""

    def __init__(self, key):
        super().__init__(key)
        self.key = key
        self.messages = self.events = self.uploads = 0

    def sockets(self, port, count, tls=None):
        for number in range(count):
            self.spawn(self.ask_socket, port, tls, f"socket-{number}")

    def streams(self, port, count, tls=None):
        for number in range(count):
            self.spawn(self.ask_events, port, tls, f"events-{number}")

    def uploading(self, port, count, tls=None):
        for number in range(count):
            self.spawn(self.ask_upload, port, tls, f"upload-{number}")

    def ask_socket(self, port, tls, name):
        scheme = "wss" if tls else "ws"
        with websockets.sync.client.connect(
            f"{scheme}://localhost:{port}/socket", additional_headers={"Authorization": f"Bearer {self.key}"}, ssl=tls,
        ) as connection:
            while not self.stopping.is_set():
                message = f"{name} {self.messages}"
                connection.send(message)
                assert connection.recv(timeout=60) == message
                with self.lock:
                    self.messages += 1
                time.sleep(0.02)
        self.ended("stopped")

    def ask_events(self, port, tls, name):
        """Streams of two seconds each, over one connection."""
        with http1.Connection(port, tls) as connection:
            while not self.stopping.is_set():
                connection.send(connection.head("GET", "/events", self.headers))
                response = connection.response_head()
                assert response.status == 200, response.status
                got = b"".join(connection.body_of(response))
                assert got == b"".join(b"data: %d\n\n" % number for number in range(20)), got
                with self.lock:
                    self.events += 20
        self.ended("stopped")

    def ask_upload(self, port, tls, name):
        with http1.Connection(port, tls) as connection:
            while not self.stopping.is_set():
                answer = connection.request_unless_closed("POST", "/score", self.headers, UPLOAD[: 256 << 10])
                assert answer is not None and answer.status == 200 and len(answer.body) == 256 << 10
                connection.send(connection.head("POST", "/score", self.headers, len(UPLOAD)))
                for at in range(0, len(UPLOAD), 1 << 18):
                    connection.send(UPLOAD[at : at + (1 << 18)])
                answer = connection.response()
                assert answer.status == 200 and answer.body == UPLOAD
                with self.lock:
                    self.uploads += 1
        self.ended("stopped")


class Changes:
    """What one reload after the other changes, and how it is seen from outside that it did."""

    def __init__(self, running, pki, folder, caller_key, service):
        self.running, self.pki, self.folder, self.caller_key, self.service = running, pki, folder, caller_key, service
        self.settings = running.config
        self.extra = None

    def turn(self, number):
        [self.caller_keys, self.routes, self.certificate, self.limits, self.service_keys][number % 5](number)

    def caller_keys(self, number):
        """One more key, and the one before taken back."""
        new = secrets.key()
        self.settings["callers"]["other"]["keys"] = [{"sha256": hashlib.sha256(new.encode()).hexdigest()}]
        old, self.extra = self.extra, new
        self.check = lambda: self.status(new) == 200 and (old is None or self.status(old) == 401)

    def routes(self, number):
        self.settings["routes"] = self.settings["routes"][:3] + [{"match": {"path": f"/only-{number}"}, "deny": True}]
        self.check = lambda: self.status(self.caller_key, f"/only-{number}") == 403

    def certificate(self, number):
        cert, key = self.pki.issue()
        replace(self.folder / f"tls-{number}.crt", cert)
        replace(self.folder / f"tls-{number}.key", key)
        tls = {"certificates": [{"cert": str(self.folder / f"tls-{number}.crt"), "key": str(self.folder / f"tls-{number}.key")}]}
        self.settings["listeners"][1]["tls"] = tls
        expected = ssl.PEM_cert_to_DER_cert(cert.decode())
        self.check = lambda: certificate_of(self.running.port("tls"), self.pki) == expected

    def limits(self, number):
        fields = 60 + number % 30
        self.settings["limits"] = {"fields": fields}
        # Beside host, authorization and content-length.
        many = [(f"x-{at}", "1") for at in range(fields - 3)]
        self.check = lambda: (self.status(self.caller_key, "/score", many) == 200
                              and self.status(self.caller_key, "/score", [*many, ("x-more", "1")]) == 431)

    def service_keys(self, number):
        active = "secondary" if self.settings["endpoints"]["model"]["active"] == "primary" else "primary"
        self.settings["endpoints"]["model"]["active"] = active
        value = f"Bearer {self.service.values[active]}"

        def check():
            before = self.service.seen[value]
            return self.status(self.caller_key) == 200 and self.service.seen[value] > before

        self.check = check

    def status(self, key, path="/score", more=()):
        with http1.Connection(self.running.port()) as connection:
            return connection.request("POST", path, [("authorization", f"Bearer {key}"), *more], b"x").status

    def broken(self, number):
        """A configuration that must not be taken, and what must be said of it."""
        wrong = json.loads(json.dumps(self.settings))
        kind = number // 10 % 4
        if kind == 0:
            wrong["routes"].append({"match": {"path_prefix": "/x"}, "callers": ["team"], "endpoint": "nowhere"})
            return json.dumps(wrong), "nowhere"
        if kind == 1:
            wrong["listners"] = []
            return json.dumps(wrong), "listners"
        if kind == 2:
            wrong["listeners"][1]["tls"]["certificates"] = [{"cert": str(self.pki.ca), "key": str(self.pki.key)}]
            return json.dumps(wrong), "certificates[0]"
        return json.dumps(wrong)[: -40], ""


def certificate_of(port, pki):
    """What a new handshake is shown."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        with pki.client().wrap_socket(plain, server_hostname="localhost") as tls:
            return tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("reloads, seconds", [(200, 60)] if FULL else [(40, 15)])
def test_reloads_under_mixed_load(reloads, seconds, tmp_path, config, gate, pki, caller_key, show):
    values = {"primary": secrets.key(), "secondary": secrets.key()}
    for slot, value in values.items():
        replace(tmp_path / slot, value)
    with Upstream(*values.values()) as service, socket_server(values["primary"]) as sockets:
        service.values = values
        service.events, service.every = [b"data: %d\n\n" % number for number in range(20)], 0.1
        settings = config(service.url())
        settings["endpoints"]["model"] |= {
            "keys": {slot: {"file": str(tmp_path / slot)} for slot in values}, "active": "primary"}
        settings["endpoints"]["sockets"] = {
            "upstreams": [f"http://127.0.0.1:{sockets}/"], "keys": {"primary": {"file": str(tmp_path / "primary")}}}
        settings["callers"]["other"] = {"keys": [{"sha256": "0" * 64}]}
        settings["routes"] = [
            {"match": {"path_prefix": "/"}, "callers": ["team", "other"], "endpoint": "model"},
            {"match": {"path_prefix": "/socket"}, "callers": ["team"], "endpoint": "sockets", "websocket": "on"},
            {"match": {"path_prefix": "/closed"}, "deny": True},
        ]
        settings["log"] = {"level": "info", "access": "off"}
        settings["limits"] = {"fields": 90}
        running = gate(settings)
        changes = Changes(running, pki, tmp_path, caller_key, service)
        with Mixed(caller_key) as load:
            load.h1(running.port(), 3)
            load.h1(running.port("tls"), 2, pki.client())
            load.h2(running.port(), 1, 4)
            load.h2(running.port("tls"), 1, 4, pki.client("h2"))
            load.sockets(running.port(), 2)
            load.sockets(running.port("tls"), 1, pki.client())
            load.streams(running.port(), 2)
            load.uploading(running.port(), 1)
            load.uploading(running.port("tls"), 1, pki.client())
            connections = 3 + 2 + 1 + 1 + 3 + 2 + 2
            until(lambda: load.uploads >= 4 and load.messages and load.events, "load runs", 120)
            until(lambda: running.metric("scoregate_connections") >= connections, "connections are counted")
            began, late, watched, wrong = time.monotonic(), 0, 0, 0
            memory = []
            for number in range(1, reloads + 1):
                memory.append(running.memory("VmRSS"))
                before_ok, before_refused = taken(running), refused(running)
                if number % 10 == 0:
                    wrong += 1
                    text, named = changes.broken(number)
                    replace(running.file, text)
                    status, body = running.post("/reload")
                    assert status == 422 or status == 400, (status, body)
                    assert named in body, body
                    assert taken(running) == before_ok
                    running.write()
                    # Back to what is in force: by hand or by the watch, no matter.
                    status, body = running.post("/reload")
                    assert status == 200, body
                else:
                    changes.turn(number)
                    running.write()
                    if number % 2:
                        watched += 1
                        until(lambda: taken(running) > before_ok, f"the watch sees change {number}", LIVE)
                    else:
                        status, body = running.post("/reload")
                        assert status == 200, body
                    until(changes.check, f"change {number} is in force", LIVE)
                assert not load.failures, load.failures[:5]
                ahead = began + seconds * number / reloads - time.monotonic()
                late = max(late, -ahead)
                time.sleep(max(0, ahead))
            took = time.monotonic() - began
            assert running.metric("scoregate_connections") >= connections, "no connection was lost over it"
            time.sleep(5)
            live = running.metric("scoregate_snapshots_live")
            memory_after = running.memory("VmRSS")
        assert not load.failures, load.failures[:5]
        assert set(load.endings) == {"stopped"}, load.endings
        assert service.refused == 0
        # From a fifth of the way, when pools and buffers have their size; the least of some, since uploads come and go.
        part = max(3, reloads // 5)
        early, at_end = min(memory[part : 2 * part]), min(*memory[-part:], memory_after)
        show(f"{reloads} reloads in {took:.0f} s ({watched} seen by the watch, {wrong} broken on purpose and refused): "
             f"{load.answered} small requests, {load.messages} messages of 3 WebSockets, {load.events} events, "
             f"{load.uploads} uploads of 8 MiB; {len(load.failures)} failed, 0 connections lost; {live:.0f} snapshots live; "
             f"{early / (1 << 20):.1f} MiB early, {at_end / (1 << 20):.1f} MiB at the end")
        assert live <= 2
        assert at_end <= early + (5 << 20)
        assert took <= seconds * 1.5, f"{took:.0f} s for {reloads} reloads; {late:.1f} s late at most"


# ---- a volume of Kubernetes ----


def test_a_volume_of_kubernetes_is_swapped(tmp_path, service, config, gate, caller_key, show):
    swaps = 100 if FULL else 25
    settings = config(service.url())
    value = service_key = next(iter(service.keys))
    keys = Volume(tmp_path / "keys", {"primary": value, "note": "0"})
    settings["endpoints"]["model"]["keys"]["primary"]["file"] = keys["primary"]
    running = gate(settings)
    whole = json.loads(running.file.read_text())
    volume = Volume(tmp_path / "config", {"gate.yaml": json.dumps(whole)})
    running.stop()
    running.file.unlink()
    # As the image is run: the configuration itself lies in a volume.
    running.file.symlink_to(volume["gate.yaml"])
    running.launch()
    until(running.is_up, "it is up again")
    running.addresses = {one["name"]: running.port_of(one["address"]) for one in running.status()["listeners"]}

    def ask(path="/score"):
        with http1.Connection(running.port()) as connection:
            return connection.request("POST", path, [("authorization", f"Bearer {caller_key}")], b"x").status

    delays = []
    for number in range(swaps):
        if number % 2:
            value = secrets.key()
            service.keys.add(value)
            begun = time.monotonic()
            keys.write({"primary": value, "note": str(number)})

            def live(value=value):
                assert ask() == 200
                return service.seen[f"Bearer {value}"] > 0
        else:
            whole["routes"] = whole["routes"][:1] + [{"match": {"path": f"/swap-{number}"}, "deny": True}]
            begun = time.monotonic()
            volume.write({"gate.yaml": json.dumps(whole)})

            def live(number=number):
                return ask(f"/swap-{number}") == 403
        until(live, f"swap {number} is live", LIVE)
        delays.append(time.monotonic() - begun)
    # Faster than they can be followed: the last one counts.
    for number in range(20):
        value = secrets.key()
        service.keys.add(value)
        keys.write({"primary": value, "note": f"burst {number}"})
        time.sleep(0.01)
    until(lambda: ask() == 200 and service.seen[f"Bearer {value}"] > 0, "the last of many is live", LIVE)
    # A new file of the volume, and one that is gone.
    whole["endpoints"]["model"]["keys"]["secondary"] = {"file": keys["secondary"]}
    whole["endpoints"]["model"]["active"] = "secondary"
    second = secrets.key()
    service.keys.add(second)
    volume.write({"gate.yaml": json.dumps(whole)})
    until(lambda: refused_status(running), "a file that is not there is refused", LIVE)
    keys.write({"primary": value, "secondary": second})
    until(lambda: ask() == 200 and service.seen[f"Bearer {second}"] > 0, "and taken once it is there", LIVE)
    assert service.refused == 0 and service_key in service.keys
    show(f"{swaps} swaps, every one of them live: after {statistics.median(delays) * 1000:.0f} ms in the middle, "
         f"{max(delays) * 1000:.0f} ms at most")


def refused_status(running):
    last = running.status()["last_reload"]
    return last is not None and last["result"] != "ok" and "secondary" in last["message"]


# ---- certificates ----


def test_a_certificate_is_renewed_under_load(tmp_path, service, config, gate, pki, caller_key, show):
    cert, key = pki.issue()
    # As cert-manager's Secret is mounted: both files change at once.
    volume = Volume(tmp_path / "tls", {"tls.crt": cert, "tls.key": key})
    settings = config(service.url())
    settings["listeners"][1]["tls"] = {"certificates": [{"cert": volume["tls.crt"], "key": volume["tls.key"]}]}
    running = gate(settings)
    port = running.port("tls")
    with Load(caller_key) as load:
        load.h1(port, 3, pki.client())
        load.h2(port, 1, 8, pki.client("h2"))
        until(lambda: load.answered > 50, "load runs")
        renewed = []
        for _ in range(20 if FULL else 5):
            cert, key = pki.issue()
            begun = time.monotonic()
            volume.write({"tls.crt": cert, "tls.key": key})
            expected = ssl.PEM_cert_to_DER_cert(cert.decode())
            until(lambda: certificate_of(port, pki) == expected, "a new handshake sees the new one", LIVE)
            renewed.append(time.monotonic() - begun)
        # A pair that does not match.
        before = refused(running)
        volume.write({"tls.crt": pki.issue()[0], "tls.key": key})
        until(lambda: refused(running) > before, "the pair is refused", LIVE)
        said = running.status()["last_reload"]
        assert said["result"] != "ok" and "certificates[0]" in said["message"] and "tls" in said["message"], said
        assert certificate_of(port, pki) == expected, "the old pair stays"
        # And one that matches again.
        cert, key = pki.issue()
        volume.write({"tls.crt": cert, "tls.key": key})
        until(lambda: certificate_of(port, pki) == ssl.PEM_cert_to_DER_cert(cert.decode()), "renewed", LIVE)
        answered = load.answered
        until(lambda: load.answered > answered + 50, "load goes on")
    assert not load.failures, load.failures[:5]
    assert set(load.endings) == {"stopped"}, load.endings
    show(f"{len(renewed) + 1} renewals, each shown to new handshakes after {max(renewed) * 1000:.0f} ms at most; "
         f"{load.answered} requests over 4 connections from before the first, 0 failed")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def test_a_client_ca_that_is_removed_stops_resumed_sessions_too(
        version, tmp_path, service, config, gate, pki, caller_key, tmp_path_factory):
    ours, theirs = Pki(tmp_path_factory.mktemp("ours")), Pki(tmp_path_factory.mktemp("theirs"))
    believed = tmp_path / "clients.pem"
    replace(believed, ours.ca.read_bytes() + theirs.ca.read_bytes())
    settings = config(service.url())
    settings["listeners"][1]["tls"] |= {"client_ca": str(believed), "client_auth": "required"}
    running = gate(settings)
    port = running.port("tls")

    def client(of):
        context = pki.client()
        context.load_cert_chain(of.cert, of.key)
        context.minimum_version = context.maximum_version = version
        return context

    def ask(context, session=None):
        """Whether the session was resumed, and the session to resume next time; None where it was not let in."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
                with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
                    tls.sendall(f"POST /score HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {caller_key}\r\n"
                                "content-length: 1\r\n\r\nx".encode())
                    answer = tls.recv(65536)
                    assert answer.startswith(b"HTTP/1.1 200"), answer
                    return tls.session_reused, tls.session
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return None

    contexts = {"ours": client(ours), "theirs": client(theirs)}
    sessions = {name: ask(context)[1] for name, context in contexts.items()}
    for name, context in contexts.items():
        reused, sessions[name] = ask(context, sessions[name])
        assert reused, "or this test shows nothing"
    before = taken(running)
    # An authority is no longer believed.
    replace(believed, ours.ca.read_bytes())
    until(lambda: taken(running) > before, "the change is taken", LIVE)
    assert ask(contexts["theirs"], sessions["theirs"]) is None, "the ticket of before is worth nothing"
    assert ask(contexts["theirs"]) is None
    assert ask(contexts["ours"], sessions["ours"])[0] is False, "whoever is still believed shakes hands anew"


# ---- much at once ----


def test_many_routes_and_keys_come_by_reload(tmp_path, service, config, gate, caller_key, show):
    routes, keys = 5000, 20000
    settings = config(service.url())
    settings["log"] = {"level": "info", "access": "off"}
    running = gate(settings)

    def p99(seconds):
        """Of small requests over one connection, in milliseconds."""
        took, end = [], time.monotonic() + seconds
        with http1.Connection(running.port()) as connection:
            while time.monotonic() < end:
                begun = time.perf_counter()
                answer = connection.request("POST", "/score", [("authorization", f"Bearer {caller_key}")], b"x")
                assert answer.status == 200
                took.append((time.perf_counter() - begun) * 1000)
        return sorted(took)[int(len(took) * 0.99)], max(took)

    quiet = p99(2)
    small = running.memory("VmRSS")
    running.forget_peak()
    last = secrets.key()
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(keys - 1)]
    settings = running.config
    settings["callers"]["many"] = {"keys": [{"sha256": one} for one in [*digests, hashlib.sha256(last.encode()).hexdigest()]]}
    settings["routes"] += [
        {"match": {"path_prefix": f"/model-{number}"}, "callers": ["many"], "endpoint": "model"} for number in range(routes)]
    measured = {}
    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=lambda: measured.update(busy=p99(6)))
        thread.start()
        stack.callback(thread.join)
        time.sleep(0.5)
        running.write()
        begun = time.monotonic()
        status, body = running.post("/reload")
        took = time.monotonic() - begun
        assert status == 200, body
        with http1.Connection(running.port()) as connection:
            for path in ("/model-0/score", f"/model-{routes - 1}/score"):
                answer = connection.request("POST", path, [("authorization", f"Bearer {last}")], b"x")
                assert answer.status == 200, (path, answer.body)
            # And one is taken back again.
            settings["callers"]["many"]["keys"].pop()
            running.write()
            before = time.monotonic()
            until(lambda: connection.request("POST", "/model-0/score", [("authorization", f"Bearer {last}")], b"x").status == 401,
                  "a key of so many is taken back by the watch", 30)
            by_watch = time.monotonic() - before
    peak, after = running.memory("VmHWM"), running.memory("VmRSS")
    size = running.file.stat().st_size
    show(f"{routes} routes and {keys} keys ({size >> 10} KiB): reload in {took * 1000:.0f} ms, a change of them by the watch in "
         f"{by_watch * 1000:.0f} ms; memory {small >> 20} MiB before, {peak >> 20} MiB at most, {after >> 20} MiB after; "
         f"p99 of others {quiet[0]:.2f} ms before, {measured['busy'][0]:.2f} ms meanwhile (longest {measured['busy'][1]:.1f} ms)")
    assert took < 10
    assert running.metric("scoregate_snapshots_live") <= 2 or until(
        lambda: running.metric("scoregate_snapshots_live") <= 2, "old snapshots go", 10)


# ---- what can never change by itself ----


def test_a_secret_of_the_environment_is_pointed_out(service, config, gate, service_key):
    settings = config(service.url())
    settings["endpoints"]["model"]["keys"]["primary"] = {"env": "MODEL_KEY"}
    one = gate(settings, start=False, variables={"MODEL_KEY": service_key.read_text().strip()})
    one.start()
    assert "endpoints.model.keys.primary.env (variable `MODEL_KEY`)" in one.stderr()
    assert "comes from the environment" in one.stderr()


def test_a_file_that_is_mounted_by_itself_is_pointed_out(tmp_path, service, config, gate, service_key):
    """As a `subPath` mount is. In a mount namespace of its own, of which root is made the owner."""
    (tmp_path / "version").mkdir()
    real = tmp_path / "version" / "key"
    real.write_text(service_key.read_text())
    mounted = tmp_path / "mounted-key"
    mounted.touch()
    settings = config(service.url())
    settings["endpoints"]["model"]["keys"]["primary"]["file"] = str(mounted)
    one = gate(settings, start=False)
    one.wrapped = ["unshare", "--map-root-user", "--mount", "bash", "-c", f'mount --bind {real} {mounted} && exec "$@"', "mount"]
    one.start()
    assert "is mounted by itself" in one.stderr() and str(mounted) in one.stderr()


def test_watching_can_be_switched_off_and_on(service, config, gate, caller_key):
    settings = config(service.url(), watch="off")
    running = gate(settings)
    running.config["routes"].append({"match": {"path": "/new"}, "deny": True})
    running.write()
    time.sleep(1)
    assert taken(running) == 0
    running.config["watch"] = "on"
    running.write()
    running.reload()
    running.config["routes"].append({"match": {"path": "/newer"}, "deny": True})
    running.write()
    until(lambda: taken(running) == 2, "the watch is on", LIVE)
