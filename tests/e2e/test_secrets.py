"""Secrets: what a process of the same user, a child, a crash or a reader of files gets to see of them; and that the search for them finds."""

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import http1, http2, secrets
from harness.azure import Azure, is_settled
from harness.gate import BINARY, Gate, command
from harness.processes import as_root
from harness.until import until
from harness.upstream import Upstream

NOBODY = 65534
HERE = Path(__file__).parent
# Prints how often the process with this number has these bytes anywhere in its memory.
COUNT = """
import re, sys
pid, wanted, found = sys.argv[1], sys.argv[2].encode(), 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
    for line in maps:
        place, rights = line.split()[:2]
        if "r" not in rights or "[v" in line:
            continue
        begin, end = (int(number, 16) for number in place.split("-"))
        memory.seek(begin)
        try:
            found += memory.read(end - begin).count(wanted)
        except OSError:
            pass
print(found)
"""


def in_memory(running, secret):
    """How often a secret stands in the memory of a gate."""
    return int(as_root(sys.executable, "-c", COUNT, running.process.pid, secret))


@pytest.fixture
def upstream():
    with Upstream() as one:
        yield one


@pytest.fixture(scope="session")
def home():
    """A folder with the binary, and a user that it belongs to: root may read everything, so for root it is somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="scoregate-e2e-"))
    # pytest keeps its own folders, and whoever built the binary perhaps theirs, from everybody else.
    shutil.copy(BINARY, folder / "scoregate")
    user = []
    if os.geteuid() == 0:
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    yield folder, user
    shutil.rmtree(folder)


def written(folder, user, **files):
    """Files of a user's."""
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o600)
    if user:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


def settings(folder, upstream):
    """A gate whose every file is in that folder."""
    return {
        "listeners": [{"name": "local", "address": "127.0.0.1:0"}],
        "endpoints": {"model": {"upstreams": [upstream.url()], "keys": {"primary": {"file": str(folder / "service-key")}}}},
        "callers": {"team": {"keys": [{"file": str(folder / "caller-key")}]}},
        "routes": [{"match": {"path_prefix": "/"}, "callers": ["team"], "endpoint": "model"}],
    }


def test_no_process_of_the_same_user_reads_its_memory_or_variables(home, upstream, monkeypatch):
    """Neither by proc(5), which debuggers go through too, nor out of a core dump."""
    folder, user = home
    monkeypatch.setattr("harness.gate.BINARY", folder / "scoregate")
    running = Gate(folder, settings(folder, upstream))
    (folder / "state").mkdir()
    written(folder, user, **{"service-key": secrets.key(), "caller-key": secrets.key()})
    running.variables["E2E_SECRET"] = secrets.key()
    running.wrapped = user
    with running:
        other = subprocess.Popen([*user, "sleep", "600"], stdin=subprocess.DEVNULL)
        try:
            for name in ("environ", "maps", "mem", "auxv"):
                seen = subprocess.run([*user, "head", "-c", "1", f"/proc/{running.process.pid}/{name}"], capture_output=True)
                assert seen.returncode != 0 and b"Permission denied" in seen.stderr, (name, seen)
            # It is not this machine that refuses everything.
            seen = subprocess.run([*user, "head", "-c", "1", f"/proc/{other.pid}/environ"], capture_output=True)
            assert seen.returncode == 0, seen.stderr
        finally:
            other.kill()
            other.wait()
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        [cores] = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
        assert cores[4:6] == ["0", "0"], cores


def test_a_key_that_was_replaced_is_nowhere_in_memory(config, gate, upstream, service_key):
    """Of a key that no request has used every copy is wiped: files' buffers, the configuration, the field that would carry it."""
    running = gate(config(upstream.url()))
    first, second = service_key.read_text().strip(), secrets.key()
    assert in_memory(running, first) > 0, "the search finds what is there"
    beside = service_key.with_suffix(".new")
    beside.write_text(second + "\n")
    beside.chmod(0o600)
    beside.rename(service_key)
    running.reload("--drained")
    # Workers let go of what they had at their next sweep.
    until(lambda: in_memory(running, first) == 0, "the old key is gone", patience=30)
    assert in_memory(running, second) > 0


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path, caller_key):
    """Journals, locks, the salt, the token, the socket."""
    with Azure(tmp_path / "azure") as azure:
        folder = tmp_path / "gate"
        folder.mkdir()
        route = {"match": {"path_prefix": "/"}}
        rotation = {"enabled": False, "probe": {"successes": 1, "spread": "0s"}}
        listeners = [{"name": "local", "address": "127.0.0.1:0"}]
        admin = {"socket": str(folder / "admin.sock"), "address": "127.0.0.1:0"}
        made = {"listeners": listeners, "admin": admin, **azure.config(folder, caller_key, [route], rotation)}
        running = Gate(folder, made)
        running.wrapped = ["bash", "-c", 'umask 0; exec "$@"', "gate"]
        with running:
            until(lambda: is_settled(running), "its keys are known, and journalled", patience=60)
            made = [folder / "admin.sock", *(folder / "state").rglob("*")]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
            wanted = {path.name: 0o700 if path.is_dir() else 0o600 for path in made}
            assert modes == wanted
            kinds = {path.suffix for path in made}
            assert {".json", ".lock", ".token"} <= kinds, sorted(modes)


def test_children_get_none_of_its_variables(tmp_path, config, gate, upstream):
    """`az` is run by an identity of that name: with what it needs, and no secret that the gate has."""
    bin_folder, said = tmp_path / "bin", tmp_path / "said"
    bin_folder.mkdir()
    az = bin_folder / "az"
    az.write_text(f"#!/bin/sh\nenv >{said}.new\nmv {said}.new {said}\nexit 1\n")
    az.chmod(0o755)
    made = config(upstream.url())
    made["endpoints"]["model"]["keys"]["secondary"] = {"env": "E2E_SECONDARY"}
    made["identities"] = {"person": {"azure_cli": {}}}
    made["workspaces"] = {"ml": {"identity": "person", "subscription_id": "s", "resource_group": "g", "name": "w"}}
    made["endpoints"]["iris"] = {"service": {"workspace": "ml", "name": "iris", "kind": "aks"}}
    made["routes"].append({"match": {"path_prefix": "/iris"}, "callers": ["team"], "endpoint": "iris"})
    made["readiness"] = "any"
    running = gate(made, variables={
        "PATH": f"{bin_folder}:{os.environ['PATH']}", "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
        "E2E_SECONDARY": secrets.key(), "AZURE_CLIENT_SECRET": secrets.key(), "SCOREGATE_ADMIN_TOKEN": secrets.key(),
    })
    until(said.exists, "the child ran", patience=30)
    text = said.read_text()
    secrets.assert_none_in(text, "a child's variables")
    names = {line.split("=")[0] for line in text.splitlines()}
    assert {"PATH", "AZURE_CONFIG_DIR"} <= names
    assert not names & {"E2E_SECONDARY", "AZURE_CLIENT_SECRET", "SCOREGATE_ADMIN_TOKEN"}
    # Said once, at the start, for the whole configuration.
    assert running.stderr().count("in an environment variable") == 1


def test_check_warns_once_of_secrets_from_variables(tmp_path, config, upstream, monkeypatch):
    monkeypatch.setenv("E2E_PRIMARY", secrets.key())
    monkeypatch.setenv("E2E_SECONDARY", secrets.key())
    made = config(upstream.url())
    made["endpoints"]["model"]["keys"] = {"primary": {"env": "E2E_PRIMARY"}, "secondary": {"env": "E2E_SECONDARY"}}
    file = tmp_path / "gate.yaml"
    file.write_text(json.dumps({"version": 1, **made}))
    done = command("check", "-c", file)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: ") == 1 and "the first of 2, expected `file`" in done.stderr, done.stderr


def test_every_refusal_is_searched_and_shows_no_key(config, gate, upstream, pki, caller_key):
    """Keys in every place where they do not belong, over both protocols: what is answered shows none, and is looked at."""
    made = config(upstream.url())
    made["routes"][0]["caller_headers"] = ["authorization", "x-api-key"]
    made["routes"].append({"match": {"path_prefix": "/closed"}, "deny": True})
    running = gate(made)
    bearer, wrong = ("authorization", f"Bearer {caller_key}"), ("authorization", f"Bearer {secrets.key()}")
    for client, tls in ((http1, None), (http2, pki.client("h2"))):
        for path, headers, status in (
            (f"/score?code={caller_key}", [], 401),
            (f"/%zz?key={caller_key}", [bearer], 400),
            ("/score", [wrong], 401),
            ("/score", [("authorization", f"Basic {caller_key}")], 401),
            ("/score", [bearer, ("x-api-key", caller_key)], 400),
            ("/score", [("x_api_key", caller_key)], 400),
            ("/score", [("cookie", f"key={caller_key}")], 401),
            (f"/closed?{caller_key}", [bearer], 403),
        ):
            before = len(secrets.heard)
            with client.Connection(running.port("tls" if tls else "local"), tls) as connection:
                assert int(connection.request("POST", path, headers, b"{}").status) == status, (path, headers)
            assert len(secrets.heard) == before + 1, "what the gate itself says is heard"
            secrets.assert_none_in(secrets.heard[-1][1], path)


# ---- the search itself ----

@pytest.mark.parametrize("form", range(6))
def test_the_search_finds_a_secret_in_every_form(form):
    key = secrets.key()
    secrets.note("s3cret/with+signs=and-more", "a noted one")
    spoken = [*secrets.forms(secrets.MARK), *secrets.forms("s3cret/with+signs=and-more")]
    assert len(spoken) == 11
    for text in [key.encode(), *spoken[form::6]]:
        with pytest.raises(AssertionError, match="is in a log"):
            secrets.assert_none_in(b"before " + text + b" after", "a log")
    secrets.assert_none_in(b"nothing of the kind", "a log")
    # As a field of Basic credentials, with a user before it.
    for user in ("", "u", "us"):
        with pytest.raises(AssertionError):
            secrets.assert_none_in(base64.b64encode(f"{user}:{key}".encode()), "a log")
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"EdDSA"}', b'{"iss":"somebody"}', b"x" * 64))
    with pytest.raises(AssertionError, match="a token is in a log"):
        secrets.assert_none_in(f"Bearer {token}", "a log")


@pytest.mark.parametrize("way, where", {
    'cat "$SERVICE_KEY" >&2': "standard error",
    'cat "$SERVICE_KEY"': "standard output",
    'base64 -w0 <"$SERVICE_KEY" >&2': "standard error",
    'cp "$SERVICE_KEY" "$(dirname "$SERVICE_KEY")/gate-0/state/left-behind"': "the state file left-behind",
}.items())
def test_a_gate_that_shows_a_key_fails_the_test_that_ran_it(way, where, tmp_path):
    """A test that asks for nothing of the kind fails at its end because of what the gate has said."""
    leaky = tmp_path / "scoregate"
    leaky.write_text(
        f"#!/bin/sh\nSERVICE_KEY=$(sed -n 's/.*\"file\": \"\\(.*service-key\\)\".*/\\1/p' \"$3\" 2>/dev/null)\n"
        f"[ \"$1\" = run ] && {{ {way}; }}\nexec {BINARY} \"$@\"\n"
    )
    leaky.chmod(0o755)
    # Sockets have short names: a folder of its own, and none below this test's.
    with tempfile.TemporaryDirectory(prefix="inner-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={HERE}", f"--basetemp={folder}/t",
                HERE / "inner/ordinary.py"],
            capture_output=True, text=True, env=os.environ | {"SCOREGATE_BINARY": str(leaky)}, cwd=HERE,
        )
    assert done.returncode == 1 and f"a key is in {where}" in done.stdout, done.stdout
    assert "1 passed, 1 error" in done.stdout, done.stdout
