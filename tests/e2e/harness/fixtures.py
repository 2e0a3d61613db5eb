"""Fixtures that start real programs; each ends what it has started, by its process id. Shared by the suites that run the binary."""

import os

import pytest

from . import secrets
from .gate import BINARY, Gate
from .pki import Pki

# A suite takes all of them: one that left out the search for secrets would not be searched.
__all__ = [
    "caller_key",
    "config",
    "full",
    "gate",
    "nothing_secret_is_said",
    "pki",
    "pytest_sessionstart",
    "service_key",
    "show",
]

# What a developer has set for clients of their own must not turn up in ours.
for name in list(os.environ):
    if name.lower() in {"http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file"}:
        del os.environ[name]
# Longer and more of everything.
FULL = os.environ.get("SCOREGATE_FULL") == "1"


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is missing: `cargo build --release --locked` makes it", returncode=2)


@pytest.fixture(autouse=True)
def nothing_secret_is_said():
    """Whatever a test does, and however its gates end: no secret is in anything that they have written or answered."""
    Gate.launched.clear()
    secrets.heard.clear()
    yield
    for one in Gate.launched:
        one.search_logs()
    secrets.search_heard()


@pytest.fixture(scope="session")
def full():
    return FULL


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def caller_key():
    """What lets a caller in."""
    return secrets.key()


@pytest.fixture
def service_key(tmp_path):
    """What the gate attaches: a file, as in production."""
    path = tmp_path / "service-key"
    path.write_text(secrets.key() + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def config(tmp_path, pki, caller_key, service_key):
    """Makes the usual configuration: a plain and a TLS listener, one caller, one endpoint behind every path."""
    key_file = tmp_path / "caller-key"
    key_file.write_text(caller_key)
    key_file.chmod(0o600)

    def make(*upstreams, **others):
        return {
            "listeners": [
                {"name": "local", "address": "127.0.0.1:0"},
                {"name": "tls", "address": "127.0.0.1:0", "tls": pki.listener_tls()},
            ],
            "endpoints": {
                "model": {"upstreams": list(upstreams), "keys": {"primary": {"file": str(service_key)}}}
            },
            "callers": {"team": {"keys": [{"file": str(key_file)}]}},
            "routes": [{"match": {"path_prefix": "/"}, "callers": ["team"], "endpoint": "model"}],
        } | others

    return make


@pytest.fixture
def gate(tmp_path):
    """Starts gates that end with the test."""
    running = []

    def make(config, start=True, handed=(), variables=()):
        folder = tmp_path / f"gate-{len(running)}"
        folder.mkdir()
        one = Gate(folder, config)
        one.handed, one.variables = dict(handed), dict(variables)
        running.append(one)
        return one.start() if start else one

    yield make
    failures = []
    for one in running:
        try:
            one.stop()
        except Exception as failure:  # each of them must be ended
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def show(capsys):
    """Prints a figure even where a test passes."""

    def say(text):
        with capsys.disabled():
            print(f"\n    {text}", end="", flush=True)

    return say
