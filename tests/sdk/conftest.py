"""Fixtures of both suites. Nothing of a developer's own settings may reach the libraries, and nothing of theirs stays."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Before any library is imported: several read these then, and keep caches under HOME.
for name in list(os.environ):
    if name.startswith(("AZURE", "AML_", "ARM_", "MSI_", "IDENTITY_", "IMDS_")) or name.lower().endswith("_proxy"):
        del os.environ[name]
HOME = tempfile.TemporaryDirectory(prefix="scoregate-sdk-home-")
os.environ.update(
    HOME=HOME.name,
    AZURE_CONFIG_DIR=f"{HOME.name}/azure",
    AZURE_CORE_COLLECT_TELEMETRY="0",
    AZUREML_DISABLE_TELEMETRY="1",
    NO_PROXY="*",
)

from harness.mock import BINARY, Mock  # noqa: E402
from harness.names import microsofts  # noqa: E402


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is missing: `cargo build --release --locked` makes it", returncode=2)


@pytest.fixture(scope="session")
def mock(tmp_path_factory):
    """One for all tests of a worker."""
    mock = Mock(tmp_path_factory.mktemp("mock"))
    # Every library here trusts it through requests; Python's own urllib through the other.
    os.environ.update(REQUESTS_CA_BUNDLE=mock.ca_file, SSL_CERT_FILE=mock.ca_file, CURL_CA_BUNDLE=mock.ca_file)
    yield mock
    mock.stop()


@pytest.fixture
def names(mock):
    """Microsoft's names are the mock's."""
    with microsofts(mock) as asked:
        yield asked


@pytest.fixture(autouse=True)
def well_behaved(mock):
    """No test leaves a fault or a shifted clock to the next."""
    yield
    mock.order("DELETE", "/faults")
    mock.order("PUT", "/clock", {"offset": 0})
