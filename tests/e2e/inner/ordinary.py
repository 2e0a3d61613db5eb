"""An ordinary test, for `test_secrets` to run with a gate that is not: it asks for no search."""

from harness import http1
from harness.upstream import Upstream


def test_a_request_is_served(config, gate, caller_key, service_key):
    with Upstream(service_key.read_text().strip()) as upstream:
        running = gate(config(upstream.url()))
        with http1.Connection(running.port()) as connection:
            headers = [("authorization", f"Bearer {caller_key}")]
            assert connection.request("POST", "/score", headers, b"{}").status == 200
