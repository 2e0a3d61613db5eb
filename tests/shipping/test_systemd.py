"""The unit, as systemd reads it; manual pages and completions, as they are installed."""

import os
import re
import subprocess

import pytest

from conftest import BINARY, ROOT

SYSTEMD = ROOT / "config/systemd"


def ini(path):
    """Settings of a unit; a setting may stand several times."""
    settings = {}
    for line in path.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            settings.setdefault(match[1], []).append(match[2])
    return settings


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    done = run(SYSTEMD / "install", BINARY, env=os.environ | {"DESTDIR": str(root)})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return root


def test_the_unit_is_one_that_systemd_understands(installed, tmp_path):
    version = int(re.match(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])
    # The binary and its manual are not on this machine.
    text = (installed / "usr/lib/systemd/system/scoregate.service").read_text()
    unit = tmp_path / "scoregate.service"
    unit.write_text(text.replace("/usr/bin/scoregate", str(BINARY)).replace("Documentation=", "#Documentation="))
    said = run("systemd-analyze", "verify", "--recursive-errors=no", unit)
    about_us = [line for line in said.stderr.splitlines() if str(unit) in line or unit.name in line]
    if version < 253:
        about_us = [line for line in about_us if "service type" not in line]
    assert about_us == [], about_us


def test_the_unit_is_a_sandbox(tmp_path):
    done = run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", SYSTEMD / "scoregate.service")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout.splitlines()[-1])


def test_the_unit_says_what_the_issue_asks():
    unit = ini(SYSTEMD / "scoregate.service")
    assert unit["Type"] == ["notify-reload"] and unit["LoadCredential"] and unit["NoNewPrivileges"] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"] and "@system-service" in unit["SystemCallFilter"]
    # lame_duck and drain by default, and 5 s.
    assert int(unit["TimeoutStopSec"][0]) >= 5 + 30 + 5
    # Where the gate looks when nothing is written.
    assert unit["StateDirectory"] == unit["RuntimeDirectory"] == ["scoregate"]


def test_credentials_are_read_where_systemd_puts_them(tmp_path):
    """As LoadCredential= of a folder leaves them: `secrets_NAME`."""
    (tmp_path / "secrets_iris").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "scoregate.yaml").write_text("""
version: 1
listeners: [ { name: local, address: "127.0.0.1:8080" } ]
endpoints:
  iris: { upstreams: ["https://iris.example.net/score"], keys: { primary: { file: "${CREDENTIALS_DIRECTORY}/secrets_iris" } } }
callers: { application: anonymous }
routes: [ { match: { path_prefix: / }, callers: [application], endpoint: iris } ]
""")
    checked = run(BINARY, "check", "-c", tmp_path / "scoregate.yaml", env=os.environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert checked.returncode == 0, checked.stderr


def commands():
    """The commands that the help lists."""
    help_ = run(BINARY, "--help").stdout
    section = help_.split("Commands:\n")[1].split("\n\n")[0]
    return {match[1] for match in re.finditer(r"(?m)^  ([a-z-]+)\s", section)} - {"help"}


def test_every_command_has_a_page_that_man_can_show(installed):
    pages = sorted((installed / "usr/share/man/man1").iterdir())
    names = {page.name.removesuffix(".1") for page in pages}
    assert {"scoregate"} | {f"scoregate-{command}" for command in commands()} <= names and len(commands()) >= 15
    for page in pages:
        shown = run("man", "--warnings", "-l", page, env=os.environ | {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
        assert shown.returncode == 0 and not shown.stderr, (page.name, shown.stderr)
        assert page.name.removesuffix(".1") in shown.stdout and "SYNOPSIS" in shown.stdout
    first = installed / "usr/share/man/man1/scoregate.1"
    assert "Exit codes" in " ".join(run("man", "-l", first, env=os.environ | {"MANPAGER": "cat"}).stdout.split())


def test_bash_completes_commands_and_flags(installed):
    script = installed / "usr/share/bash-completion/completions/scoregate"

    def completions(*words):
        line = f"""source {script}
COMP_WORDS=(scoregate {' '.join(words)}); COMP_CWORD={len(words)}
_scoregate scoregate '{words[-1]}' '{words[-2] if len(words) > 1 else 'scoregate'}'
printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = run("bash", "-c", line)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return set(done.stdout.split())

    assert completions("rel") == {"reload"}
    assert "--drained" in completions("reload", "--dr")
    assert (installed / "usr/share/zsh/site-functions/_scoregate").read_text().startswith("#compdef scoregate")
    assert "complete -c scoregate" in (installed / "usr/share/fish/vendor_completions.d/scoregate.fish").read_text()
