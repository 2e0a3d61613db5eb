"""The fixtures of the end-to-end tests: the harness's, and the real inference server."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.fixtures import *  # noqa: E402, F403
from harness.model_server import ModelServer  # noqa: E402


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The real inference server, once for all tests."""
    with ModelServer(tmp_path_factory.mktemp("model")) as server:
        yield server
