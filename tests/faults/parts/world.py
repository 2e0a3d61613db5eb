"""Machines around a gate: a client, an upstream, Azure, and a router on which the witness and its upstream are."""

import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

from harness import http1, secrets
from harness.azure import iris_of
from harness.gate import ask as ask_admin

from .far_azure import FarAzure
from .network import Network
from .peer import Peer
from .witness import Witness

ROTATION = {"enabled": False, "probe": {"spread": "1s", "successes": 3}, "adopt_gap": "100ms"}
TIMEOUTS = {
    "connect": "3s", "response_head": "3s", "request": "20s", "stall": "2s", "idle": "30s", "stream_idle": "5s", "request_head": "5s",
    "lame_duck": "0s",
}
# What is sent and must come back.
BODY = bytes(range(256)) * 200


@contextmanager
def made(tmp_path, gate, caller_key, kind=FarAzure):
    """A gate between a client, an upstream and Azure; witness and `well` are on the router, whose wire to the gate is sound."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        azure = stack.enter_context(kind(network, tmp_path / "azure"))
        peer = stack.enter_context(Peer(made=network.listen("upstream")))
        with network.on("router"):
            well = stack.enter_context(Peer(address="10.213.2.1"))
        settings = azure.config(tmp_path, caller_key, [], ROTATION)
        settings["endpoints"]["iris"]["plaintext"] = "allow"
        (tmp_path / "service").write_text(secrets.key())
        (tmp_path / "service").chmod(0o600)
        by_hand = {"keys": {"primary": {"file": str(tmp_path / "service")}}, "plaintext": "allow"}
        settings["endpoints"] |= {
            "faulty": {"upstreams": [peer.url()]} | by_hand, "well": {"upstreams": [well.url()]} | by_hand,
        }
        settings["routes"] = [
            {"match": {"path_prefix": f"/{name}"}, "rewrite": {"path_prefix": "/"}, "callers": ["team"], "endpoint": name}
            for name in ("iris", "faulty", "well")
        ]
        settings |= {
            "listeners": [{"name": "public", "address": f"{network.address['gate']}:0"}], "timeouts": TIMEOUTS,
        }
        settings["log"] = {"level": "debug"}
        running = gate(settings, start=False)
        running.wrapped = network.wrap("gate")
        yield SimpleNamespace(network=network, azure=azure, peer=peer, gate=running, key=caller_key, stack=stack)


def start(world, witness=True):
    world.gate.start()
    world.port = (world.network.address["gate"], world.gate.port("public"))
    if witness:
        world.witness = Witness(world.port, world.key, connect=lambda: connect(world, "router"))
        world.stack.enter_context(world.witness)
    return world


def connect(world, machine="client"):
    with world.network.on(machine):
        return http1.Connection(world.port)


def ask(world, path="/faulty", body=BODY, machine="client"):
    began = time.monotonic()
    with connect(world, machine) as connection:
        answer = connection.request("POST", path, [("authorization", f"Bearer {world.key}")], body)
    return answer, time.monotonic() - began


def admin(world, path):
    return ask_admin(str(world.gate.folder / "admin.sock"), path)


def is_ready(world):
    return iris_of(world.gate)["ready"]


def hush(world, *sides):
    """What is sent to these sides of Azure disappears: a black hole for them alone."""
    ports = ", ".join(str(world.azure.port(side)) for side in sides)
    world.network.inside(
        "router", "nft", "add table ip hushed\nadd chain ip hushed forward { type filter hook forward priority 0; }\n"
        f"add rule ip hushed forward tcp dport {{ {ports} }} drop")


def hear(world):
    world.network.inside("router", "nft", "delete table ip hushed")
