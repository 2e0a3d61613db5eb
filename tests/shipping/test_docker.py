"""The image and the compose file. No container engine runs where tests do: its commands are run as they stand, without one."""

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from conftest import BINARY, ROOT

DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*Dockerfile"))


def instructions(path):
    """Of each stage, by its name or number: what it is from, and its instructions."""
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")))
    stages = {}
    for line in filter(None, text.splitlines()):
        word, rest = line.split(" ", 1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            last = stages[name or len(stages)] = [("FROM", base)]
        else:
            last.append((word, rest))
    return stages


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_linter_has_no_complaint(file):
    done = subprocess.run([shutil.which("hadolint", path=str(Path(os.sys.executable).parent)), file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_empty_but_for_the_binary_and_nobodys():
    stages = instructions(DOCKER / "Dockerfile")
    image = list(stages.values())[-1]
    assert image[0] == ("FROM", "scratch")
    words = dict(image)
    user, group = words["USER"].split(":")
    assert int(user) > 0 and int(group) > 0
    # Scratch has no shell.
    assert json.loads(words["ENTRYPOINT"]) == ["/scoregate"] and "RUN" not in words
    targets = [rest.split()[-1] for word, rest in image if word == "COPY"]
    assert targets == ["/etc/ssl/certs/ca-certificates.crt", "/scoregate", "/run/scoregate", "/var/lib/scoregate"]
    assert "crt-static" in (DOCKER / "build-static").read_text()
    assert [word for word, _ in stages["sbom"]] == ["FROM", "COPY"]


def test_what_is_copied_is_not_ignored():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")
    for file in FILES:
        for stage in instructions(file).values():
            for word, rest in stage:
                if word == "COPY" and "--from" not in rest:
                    for source in rest.split()[:-1]:
                        assert (ROOT / source).exists()
                        assert source == "." or any(source == one or source.startswith(f"{one}/") for one in kept), source
    # What the build needs.
    assert {"Cargo.toml", "Cargo.lock", "src"} <= set(kept)


@pytest.mark.parametrize("wrong", ["sparc", "amd65"])
def test_an_architecture_that_is_none_of_ours_is_named(wrong):
    done = subprocess.run([DOCKER / "build-static", wrong], capture_output=True, text=True)
    assert done.returncode != 0 and f"unknown architecture `{wrong}`" in done.stderr


def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_the_compose_file_gives_nobody_more_than_he_needs():
    services = compose()
    for name, service in services.items():
        if service["image"] == "scoregate":
            assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
    # From this machine alone.
    assert [service["ports"] for service in services.values() if "ports" in service] == [["127.0.0.1:8080:8080"]]
    assert all("network_mode" in service for name, service in services.items() if name != "azure")
    assert services["gate"]["depends_on"] == {"configure": {"condition": "service_completed_successfully"}}


class Composed:
    """The services' own commands, as processes of this machine: the image's entry point, folder and ports put in their places."""

    def __init__(self, folder):
        self.folder = folder
        self.running = {}
        # Below the range that Linux gives to outgoing connections.
        self.gate_port, self.model_port = random.sample(range(12000, 30000), 2)

    def command(self, name):
        service = compose()[name]
        command = service.get("command") or json.loads(dict(instructions(DOCKER / "model.Dockerfile")[0])["CMD"])
        command = [str(BINARY), *command] if service["image"] == "scoregate" else command
        places = {
            "/run/scoregate": str(self.folder), "0.0.0.0:8080": f"127.0.0.1:{self.gate_port}", "127.0.0.1:5001": f"127.0.0.1:{self.model_port}",
            "/model/configure.py": str(DOCKER / "configure.py"), "/model/score.py": str(ROOT / "tests/e2e/model/score.py"),
        }
        for place, here in places.items():
            command = [word.replace(place, here) for word in command]
        # Of the end-to-end tests' environment, which has the inference server.
        programs = {"azmlinfsrv": ROOT / ".venv/bin/azmlinfsrv", "python": os.sys.executable}
        command = [str(programs.get(word, word)) if at == 0 else word for at, word in enumerate(command)]
        return [str(self.model_port) if word == "5001" else word for word in command]

    def start(self, name):
        with open(self.folder / f"{name}.log", "wb") as log:
            environment = os.environ | {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
            self.running[name] = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                  env=environment, cwd=self.folder)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def end(self):
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def composed(tmp_path):
    made = Composed(tmp_path)
    yield made
    made.end()


def until(true, what, patience=120):
    deadline = time.monotonic() + patience
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)
    return answer


def ask(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return None, b""


def test_the_first_minute_of_the_compose_file(composed):
    composed.start("azure")
    composed.start("model")
    composed.start("configure")
    assert composed.running["configure"].wait(timeout=120) == 0, composed.log("configure")
    composed.start("gate")
    # What it tells a person to try, tried.
    lines = [shlex.split(line, comments=True) for line in composed.log("configure").splitlines() if "curl" in line]
    assert len(lines) == 2

    def typed(words):
        url = words[1].replace("127.0.0.1:8080", f"127.0.0.1:{composed.gate_port}")
        headers = dict([words[words.index("-H") + 1].split(": ", 1)]) if "-H" in words else {}
        return urllib.request.Request(url, words[words.index("-d") + 1].encode(), headers)

    with_key, without = map(typed, lines)
    until(lambda: ask(with_key)[0] == 200, f"an answer; the gate says {composed.log('gate')[-2000:]}")
    status, body = ask(with_key)
    assert status == 200 and json.loads(body)["result"] == [0], body
    assert ask(without)[0] == 401
    health = compose()["gate"]["healthcheck"]["test"]
    looked = subprocess.run([str(BINARY), *[word.replace("/run/scoregate", str(composed.folder)) for word in health[2:]]],
                            capture_output=True, text=True)
    assert looked.returncode == 0 and "iris" in looked.stdout, looked.stderr
