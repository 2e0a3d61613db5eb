"""What an operator meets: exit codes, messages, reloads by signal, and a port that is taken."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from harness import http1, secrets
from harness.gate import Gate, command
from harness.until import until
from harness.upstream import Upstream

HEALTHY = "version: 1\nlisteners: [ { name: local, address: 127.0.0.1:0 } ]\n"


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as service:
        yield service


def write(tmp_path, text):
    file = tmp_path / "scoregate.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("verb", ["check", "run"])
class TestWrongConfigurations:
    """`check` and `run` say the same, and end with 3."""

    def refused(self, verb, file):
        done = command(verb, "-c", file)
        assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def test_a_file_that_is_not_there(self, verb, tmp_path):
        assert str(tmp_path / "none.yaml") in self.refused(verb, tmp_path / "none.yaml")

    def test_a_folder(self, verb, tmp_path):
        assert str(tmp_path) in self.refused(verb, tmp_path)

    def test_a_file_that_may_not_be_read(self, verb, tmp_path):
        file = write(tmp_path, HEALTHY)
        file.chmod(0)
        if os.access(file, os.R_OK):
            # Root may read everything but what is no file at all.
            file.unlink()
            file.symlink_to(file)
        assert str(file) in self.refused(verb, file)

    def test_an_unknown_key_with_what_was_meant(self, verb, tmp_path):
        said = self.refused(verb, write(tmp_path, "version: 1\nlistners: []\n"))
        assert "scoregate.yaml:2:1" in said and "listeners" in said

    def test_two_faults_are_told_at_once(self, verb, tmp_path):
        said = self.refused(verb, write(tmp_path, "version: 1\nworkers: many\nlimits: { head: wide }\n"))
        assert ":2:" in said and ":3:" in said

    def test_a_key_file_that_is_not_there(self, verb, tmp_path, config):
        settings = config("http://127.0.0.1:9/score")
        settings["endpoints"]["model"]["keys"]["primary"]["file"] = str(tmp_path / "no-key")
        assert "no-key" in self.refused(verb, write(tmp_path, json.dumps({"version": 1} | settings)))

    def test_a_certificate_that_does_not_match_its_key(self, verb, tmp_path, config, pki):
        from cryptography.hazmat.primitives.asymmetric import ec

        other = tmp_path / "other.key"
        pki.write_key(other, ec.generate_private_key(ec.SECP256R1()))
        settings = config("http://127.0.0.1:9/score")
        settings["listeners"][1]["tls"]["certificates"][0]["key"] = str(other)
        assert "listeners[1].tls.certificates[0].key" in self.refused(verb, write(tmp_path, json.dumps({"version": 1} | settings)))

    def test_ten_faults_in_one_file(self, verb):
        from harness.gate import ROOT

        expected = (ROOT / "tests/config/ten-faults.expected").read_text()
        said = self.refused(verb, ROOT / "tests/config/ten-faults.yaml")
        places = re.findall(r"^gate\.yaml:(\d+:\d+: .*)$", expected, re.M)
        assert len(places) >= 10
        assert [place for place in places if place not in said] == []


def test_a_sound_configuration_is_said_to_be_sound(tmp_path, config):
    done = command("check", "-c", write(tmp_path, json.dumps({"version": 1} | config("http://127.0.0.1:9/score"))))
    assert done.returncode == 0, done.stderr


def test_a_command_line_that_is_wrong_ends_with_2():
    assert command("run", "--no-such-option").returncode == 2
    assert command("no-such-command").returncode == 2


def test_a_port_in_use_names_the_listener(tmp_path, config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = config("http://127.0.0.1:9/score")
        settings["listeners"][0]["address"] = f"127.0.0.1:{taken.getsockname()[1]}"
        folder = tmp_path / "gate"
        folder.mkdir()
        gate = Gate(folder, settings)
        gate.write()
        gate.launch()
        assert gate.wait() == 1
    assert "listener `local`" in gate.stderr() and "ss -ltnp" in gate.stderr()
    gate.search_logs()


def test_a_command_without_a_gate_ends_with_6(tmp_path):
    for arguments in (["status"], ["reload"], ["drain"]):
        assert command(*arguments, "--admin", tmp_path / "nobody.sock").returncode == 6, arguments


def test_sighup_reloads_and_a_wrong_file_changes_nothing(service, config, gate, caller_key):
    running = gate(config(service.url()))
    headers = [("authorization", f"Bearer {caller_key}")]
    with http1.Connection(running.port()) as connection:
        assert connection.request("POST", "/score", headers, b"1").status == 200

        running.config["routes"].append({"match": {"path_prefix": "/closed"}, "deny": True})
        running.write()
        running.signal(signal.SIGHUP)
        until(lambda: running.status()["generation"] == 2, "the new routes are served")
        # The same connection: a reload closes nothing.
        assert connection.request("POST", "/closed", headers, b"2").status == 403

        running.config["routes"][-1]["endpoint"] = "nobody"
        running.config["nonsense"] = True
        running.write()
        running.signal(signal.SIGHUP)
        until(lambda: running.status()["last_reload"]["result"] == "refused", "the wrong file is refused")
        done = running.cli("reload")
        assert done.returncode == 3 and "nonsense" in done.stderr
        assert running.status()["generation"] == 2
        assert connection.request("POST", "/closed", headers, b"3").status == 403
        assert connection.request("POST", "/score", headers, b"4").body == b"4"
        assert running.probe("/readyz")[0] == 200


def priorities(running):
    """How nice each thread is, by its name; the first is the control plane."""
    process, threads = str(running.process.pid), {}
    for task in Path(f"/proc/{process}/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        threads["control" if task.name == process else name] = int(rest.split()[16])
    return threads


def test_what_serves_requests_comes_before_what_controls(service, config, gate, caller_key):
    running = gate(config(service.url()))
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    until(lambda: priorities(running)["control"] == min(usual + 10, 19), "the control plane gives way")

    running.config["listeners"].append({"name": "added", "address": "127.0.0.1:0"})
    running.write()
    running.reload()
    serving = {name: nice for name, nice in priorities(running).items() if name.startswith(("worker-", "accept-"))}
    assert {"worker-0", "accept-local", "accept-added"} <= set(serving)
    assert set(serving.values()) == {usual}, serving


def test_no_key_is_ever_written(service, config, gate, tmp_path, pki, caller_key, service_key, monkeypatch):
    """At the most talkative, with everything refused that can be refused: each key is in a request, none is in what is said."""
    admin_token, from_env = secrets.key(), secrets.key()
    monkeypatch.setenv("E2E_ADMIN_TOKEN", admin_token)
    monkeypatch.setenv("E2E_SECONDARY", from_env)
    settings = config(service.url(), log={"level": "trace", "access": "all"})
    settings["admin"] = {
        "socket": str(tmp_path / "gate-0/admin.sock"), "address": "127.0.0.1:0", "token": {"env": "E2E_ADMIN_TOKEN"}
    }
    settings["endpoints"]["model"]["keys"]["secondary"] = {"env": "E2E_SECONDARY"}
    settings["callers"]["by-value"] = {"keys": [{"value": (by_value := secrets.key())}]}
    settings["routes"][0]["callers"].append("by-value")
    settings["routes"][0]["caller_headers"] = ["authorization", "x-api-key"]
    settings["routes"].append({"match": {"path_prefix": "/other"}, "callers": ["team"], "endpoint": "model"})
    running = gate(settings)
    service.keys.add(from_env)

    def ask(path, *headers, method="POST", port="local", tls=None):
        with http1.Connection(running.port(port), tls) as connection:
            try:
                return connection.request(method, path, headers, b"body").status
            except http1.Closed:
                return None

    bearer = lambda key: ("authorization", f"Bearer {key}")  # noqa: E731
    assert ask("/score", bearer(caller_key)) == 200
    assert ask("/score", bearer(caller_key), port="tls", tls=pki.client()) == 200
    assert ask("/score", ("x-api-key", by_value)) == 200
    assert ask("/other", bearer(by_value)) == 403
    assert ask("/score", bearer(secrets.key())) == 401
    assert ask("/score", ("authorization", f"Basic {secrets.key()}")) == 401
    assert ask("/score", bearer(caller_key), ("x-api-key", by_value)) == 400
    assert ask("/score", ("proxy-authorization", f"Bearer {secrets.key()}"), bearer(caller_key)) == 200
    assert ask("/score", bearer(caller_key + "\x01")) in (400, None)
    service.keys.clear()
    assert ask("/score", bearer(caller_key)) in (401, 503)
    service.keys.add(from_env)
    # The other slot, then a key file that cannot be one, an empty one, and a key under a misspelt name.
    running.config["endpoints"]["model"]["active"] = "secondary"
    running.write()
    running.reload("--drained")
    assert ask("/score", bearer(caller_key)) == 200
    for unusable in (secrets.key() + "\n" + secrets.key(), ""):
        service_key.write_text(unusable)
        assert any("half-written" in warning for warning in running.reload()["warnings"])
    # A fault quotes what it found, but not where a key may be.
    running.config["callers"]["by-value"]["keys"] = [{"valeu": secrets.key()}]
    running.write()
    assert running.cli("reload").returncode == 3
    assert command("check", "-c", running.file).returncode == 3
    token = re.search(r'"address":"([^"]+)","message":"admin API"|admin API.*?"address":"([^"]+)"', running.stderr())
    port = Gate.port_of(token.group(0))
    with http1.Connection(port) as connection:
        assert connection.request("GET", "/config", [bearer(admin_token)]).status == 200
    with http1.Connection(port) as connection:
        assert connection.request("GET", "/config", [bearer(secrets.key())]).status == 401
    assert len(running.stdout().splitlines()) >= 10, "the access log was written"
    # The fixture looks through everything that was written once the gate has ended.
