"""DNS that changes, fails, is silent or lies, with the gate on a machine of its own whose name server is the test's."""

import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from harness import http1, secrets
from harness.until import until
from parts.name_server import NameServer
from parts.network import Network
from parts.peer import Peer
from parts.settings import SHORT
from parts.witness import Witness, code_of, told

NAME = "model.scoregate.test"
SERVFAIL, NXDOMAIN = 2, 3


@pytest.fixture
def stage(root, tmp_path, gate, caller_key):
    """Two upstreams with one port, of which the name means one; `well` goes by its address."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        network.inside("upstream", "ip", "address", "add", "10.213.3.3/24", "dev", "eth0")
        first = stack.enter_context(Peer(answers(b"one"), made=network.listen("upstream")))
        with network.on("upstream"):
            second = stack.enter_context(Peer(answers(b"two"), made=socket.create_server(("10.213.3.3", first.port))))
        with network.on("router"):
            well = stack.enter_context(Peer(address="10.213.2.1"))
        with network.on("azure"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((network.address["azure"], 53))
        names = stack.enter_context(NameServer(sock))
        names.say([network.address["upstream"]])
        for file, value in (("caller", caller_key), ("service", secrets.key())):
            (tmp_path / file).write_text(value)
            (tmp_path / file).chmod(0o600)
        by_hand = {"keys": {"primary": {"file": str(tmp_path / "service")}}, "plaintext": "allow"}
        running = gate({
            "listeners": [{"name": "public", "address": f"{network.address['gate']}:0"}],
            "endpoints": {
                "named": {"upstreams": [f"http://{NAME}:{first.port}/score"]} | by_hand, "well": {"upstreams": [well.url()]} | by_hand,
            },
            "callers": {"team": {"keys": [{"file": str(tmp_path / "caller")}]}},
            "routes": [
                {"match": {"path_prefix": f"/{name}"}, "rewrite": {"path_prefix": "/"}, "callers": ["team"], "endpoint": name}
                for name in ("named", "well")
            ],
            "timeouts": SHORT,
        }, start=False)
        running.wrapped = network.wrap("gate")
        yield SimpleNamespace(network=network, first=first, second=second, names=names, gate=running, key=caller_key, stack=stack)


def answers(word):
    def script(wire):
        while True:
            wire.request()
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(word), word))

    return script


def start(stage):
    stage.gate.start()
    stage.port = (stage.network.address["gate"], stage.gate.port("public"))
    stage.witness = stage.stack.enter_context(Witness(stage.port, stage.key, connect=lambda: connect(stage)))


def connect(stage):
    with stage.network.on("router"):
        return http1.Connection(stage.port)


def ask(stage):
    began = time.monotonic()
    with connect(stage) as connection:
        answer = connection.request("GET", "/named", [("authorization", f"Bearer {stage.key}")])
    return answer, time.monotonic() - began


def word(stage):
    """Who answers; None where nobody does."""
    answer, _ = ask(stage)
    return answer.body if answer.status == 200 else None


def test_a_name_that_moves_is_followed(stage, found):
    start(stage)
    with stage.witness.unharmed():
        assert word(stage) == b"one"
        stage.names.say(["10.213.3.3"])
        began = time.monotonic()
        until(lambda: word(stage) == b"two", "the new address is used", 10)
        took = time.monotonic() - began
        assert all(word(stage) == b"two" for _ in range(20))
    found("a name that moves (TTL 1 s)", "the new address with the next request after its TTL; nothing fails",
          f"followed after {told(took)}, 0 failed")


FAILURES = {
    "SERVFAIL": SERVFAIL, "NXDOMAIN": NXDOMAIN, "no answer": "silent", "garbage": "garbage", "an answer to another question": "lie",
    "no address": [],
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_name_server_changes_nothing(stage, found, failure):
    """The last addresses stay, also for connections that have to be made anew; afterwards the name is followed again."""
    start(stage)
    with stage.witness.unharmed():
        assert word(stage) == b"one"
        stage.names.say(FAILURES[failure])
        until(lambda: "name cannot be looked up" in stage.gate.stderr(), "it is asked, in vain, and that is said", 15)
        stage.first.drop_all()
        slowest = 0.0
        for _ in range(20):
            answer, took = ask(stage)
            assert (answer.status, answer.body) == (200, b"one")
            slowest = max(slowest, took)
        stage.names.say(["10.213.3.3"])
        began = time.monotonic()
        until(lambda: word(stage) == b"two", "it is followed again", 20)
        healed = time.monotonic() - began
    found(f"name server: {failure}", "the last addresses stay in use; followed again afterwards",
          f"0 of 20 failed, slowest {told(slowest)}; followed again after {told(healed)}")


def test_a_name_that_leads_astray(stage, found):
    """To an address where nobody is: that is the upstream's failure, told in time; it heals when the name is right again."""
    start(stage)
    with stage.witness.unharmed():
        assert word(stage) == b"one"
        stage.names.say(["10.213.3.66"])
        until(lambda: word(stage) is None, "it is believed", 10)
        answer, took = ask(stage)
        assert (answer.status, code_of(answer)) == (502, "upstream_unreachable")
        assert took < 3
        stage.names.say(["10.213.3.66", stage.network.address["upstream"]])
        began = time.monotonic()
        until(lambda: word(stage) == b"one", "one of two addresses is enough", 10)
        healed = time.monotonic() - began
        slowest = max(ask(stage)[1] for _ in range(10))
    found("name with a dead address", "502 `upstream_unreachable` within `connect`; beside a good one it costs a head start (RFC 8305)",
          f"502 after {told(took)}; served {told(healed)} after a good address stood beside it, slowest {told(slowest)}")


def test_names_that_fail_at_the_start(stage, found):
    stage.names.say(SERVFAIL)
    start(stage)
    with stage.witness.unharmed():
        answer, took = ask(stage)
        assert (answer.status, code_of(answer)) == (502, "upstream_unreachable")
        assert took < 5
        stage.names.say([stage.network.address["upstream"]])
        began = time.monotonic()
        until(lambda: word(stage) == b"one", "it heals by itself", 20)
        healed = time.monotonic() - began
    found("name server fails at the start", "it starts; 502 `upstream_unreachable` for that name; heals by itself",
          f"502 after {told(took)}; served {told(healed)} after the name server was well")
