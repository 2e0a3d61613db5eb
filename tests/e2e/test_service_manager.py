"""What a service manager gives and is told: sockets that outlive the process, and when it is ready, reloads and ends."""

import re
import signal
import socket

import pytest

from harness import http1
from harness.upstream import Upstream


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as upstream:
        yield upstream


class Manager:
    """Hears what it is told."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)
        self.path = str(path)

    def hears(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


def test_handed_sockets_outlive_the_process(service, config, gate, caller_key, tmp_path):
    headers = [("authorization", f"Bearer {caller_key}")]
    settings = config(service.url())
    path = tmp_path / "handed.sock"
    with socket.create_server(("127.0.0.1", 0), backlog=64) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen(8)
        settings["listeners"] = [{"name": "tcp", "address": "fd:web"}, {"name": "unix", "address": "fd:local"}]
        running = gate(settings, handed={"web": tcp, "local": unix})
        port = tcp.getsockname()[1]
        assert running.port("tcp") == port
        with http1.Connection(port) as connection:
            assert connection.request("POST", "/score", headers, b"1").body == b"1"
        with http1.Connection(str(path)) as connection:
            assert connection.request("POST", "/score", headers, b"2").body == b"2"
        running.signal(signal.SIGKILL)
        running.wait()
        # Who comes while nobody is there waits in the socket's queue.
        with http1.Connection(port) as early:
            early.send(early.head("POST", "/score", headers, 1) + b"3")
            running.start()
            assert early.response().body == b"3"


def test_a_socket_that_was_not_handed_over_is_named(config, gate, tmp_path):
    settings = config("http://127.0.0.1:9/score")
    settings["listeners"] = [{"name": "tcp", "address": "fd:web"}]
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        refused = gate(settings, handed={"other": tcp}, start=False)
        refused.write()
        refused.launch()
        assert refused.wait() == 1
        assert "listener `tcp`" in refused.stderr() and "handed over, but other" in refused.stderr()


def test_the_manager_is_told(service, config, gate, tmp_path):
    manager = Manager(tmp_path / "notify.sock")
    running = gate(config(service.url()), variables={"NOTIFY_SOCKET": manager.path})
    assert manager.hears()["READY"] == "1"
    running.signal(signal.SIGHUP)
    told = manager.hears()
    assert told["RELOADING"] == "1" and re.fullmatch(r"[0-9]+", told["MONOTONIC_USEC"])
    assert manager.hears()["READY"] == "1"
    running.signal(signal.SIGTERM)
    assert manager.hears()["STOPPING"] == "1"
    assert running.wait() == 0
